"""The keys of a study's YAML file: what they mean, what they may hold, and how they are read."""
