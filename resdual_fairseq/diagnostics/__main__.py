"""``python -m resdual_fairseq.diagnostics``: the same as ``resdual-diagnose``."""

from .command import main

if __name__ == "__main__":
    main()
