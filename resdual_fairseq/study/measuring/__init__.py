"""What models cost: programs that train, translate and weigh them in turns."""
