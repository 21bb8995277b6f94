"""The model as the paper describes it: blocks, layers and the two stacks."""
