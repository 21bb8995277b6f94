"""What the recipes share beyond `resdual_fairseq.preparation`: raw files, many pairs, options."""
