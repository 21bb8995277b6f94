"""Tasks: their names and folders, who holds them, how they are attempted, and how they end."""
