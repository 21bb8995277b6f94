"""What is done at a task: data, training, evaluation."""
