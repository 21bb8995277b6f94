"""Protects examples/depth: the table and figure of all schemes, and who turns sequences round."""

from argparse import Namespace
from pathlib import Path
from typing import Any, List

import pytest
from fairseq import options

from depth import reversal, schemes, warm_up
from resdual_fairseq.diagnostics import untrained
from resdual_fairseq.diagnostics.table import Row, write_table
from resdual_fairseq.errors import ResDualError
from resdual_fairseq.residual import PreLN
from resdual_fairseq.schemes import RESIDUALS
from resdual_fairseq.schemes.kinds import kinds, options_of, title_of


def rows(residual: str, decay: float) -> List[Row]:
    """A gradient that falls by a factor a block towards the first, at two depths."""
    found = []
    for depth in (2, 4):
        for stack, parts in (("encoder", ["self_attn", "ffn"]), ("decoder", ["a", "b", "ffn"])):
            n = depth * len(parts)
            for k in range(1, n + 1):
                layer, part = divmod(k - 1, len(parts))
                at = (f"{residual}-{depth}-1", residual, depth, 1, stack, k, n, layer, parts[part])
                found.append(Row(*at, "gradient", "", decay and decay ** (n - k)))
                found.append(Row(*at, "input_change", "", k**-0.5 if decay else 0.0))
                found.append(Row(*at, "largest", "", float(k)))
    return found


def test_table_and_figure_of_schemes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measurements = tmp_path / "measurements.csv"
    write_table(measurements, [*rows("post", 0.4), *rows("hyper", 1.0), *rows("rezero", 0.0)])
    schemes.write(Namespace(measurements=measurements, out=tmp_path / "out"))
    post, rezero, hyper = (tmp_path / "out" / "schemes.md").read_text().splitlines()[2:]
    assert post == "| Post-LN | 0.16, 0.064 | 0.0041, 0.00026 | -0.50, -0.50 | 12 |"
    assert hyper == "| hyper-connections | 1, 1 | 1, 1 | -0.50, -0.50 | 12 |"
    assert rezero.startswith("| ReZero | 0 everywhere, 0 everywhere |")
    assert (tmp_path / "out" / "schemes.png").stat().st_size > 10_000
    assert post in capsys.readouterr().out


def test_measurements_that_are_none(tmp_path: Path) -> None:
    missing, broken = tmp_path / "none.csv", tmp_path / "broken.csv"
    broken.write_text("a,b\n1,2\n")
    with pytest.raises(ResDualError, match=r"none\.csv: no measurements"):
        schemes.write(Namespace(measurements=missing, out=tmp_path))
    with pytest.raises(ResDualError, match=r"broken\.csv is no table of measurements"):
        schemes.write(Namespace(measurements=broken, out=tmp_path))


def test_a_name_that_is_no_kind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = Namespace(arch="resdual_transformer", width=32, ffn=None, heads=4)
    for name in ("own", "siamese:bar"):
        with pytest.raises(ResDualError, match=f"--residual {name} is unknown; give one"):
            untrained.model_options(preset, name, 2)
    monkeypatch.setitem(RESIDUALS, "own", PreLN)
    assert untrained.model_options(preset, "own", 2).residual == "own"
    assert title_of("own:best") == "Pre-LN, best" and title_of("nobody's") == "nobody's"


@pytest.mark.parametrize("kind", kinds())
def test_the_warm_up_study_takes_every_form(kind: str, tmp_path: Path) -> None:
    run = warm_up.Run(kind, 2, 0, 1)
    sizes = Namespace(data=tmp_path, width=32, lr=0.001, updates=5, max_tokens=100)
    words = warm_up.command(run, sizes, tmp_path / "log")[1:]
    given = options.parse_args_and_arch(options.get_training_parser(), words)
    form = {"residual_alpha": 1.0, "residual_variant": None, **options_of(kind)}
    assert {name: getattr(given, name) for name in form} == form
    assert ":" not in run.name


def settings(**changes: Any) -> Namespace:
    defaults = {
        "layers": 1, "width": 32, "length": 2, "warm_up": 10, "updates": 400, "batch": 64,
        "seed": 1, "lr": [1e-12, 5e-3],
    }  # fmt: skip
    return Namespace(**{**defaults, **changes})


def test_who_turns_sequences_round(tmp_path: Path) -> None:
    args = settings(residuals=["learned"], out=tmp_path / "table.md", updates=100)
    reversal.study(args)
    (row,) = args.out.read_text().splitlines()[2:]
    name, rate, updates, failed = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, rate, failed) == ("ResiDual, learned alpha", "0.005", "1e-12")
    assert int(updates) % reversal.EVERY == 0


def test_who_does_not(tmp_path: Path) -> None:
    args = settings(residuals=["pre"], out=tmp_path / "table.md", lr=[1e-12], updates=30)
    reversal.study(args)
    assert args.out.read_text().splitlines()[2] == "| Pre-LN | none | not in 30 | 1e-12 |"
