"""From what a study has found to its verdict, on plain rows: no files, no processes."""
