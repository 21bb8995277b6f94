"""From parallel text to what fairseq-train reads: cleaned, split, in subwords, binarized."""
