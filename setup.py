"""Packaging of resdual_fairseq, the ResiDual plugin of fairseq."""

import runpy
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

ROOT = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "resdual_fairseq" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

NATIVE = "resdual_fairseq/native/csrc"
# torch's own OpenMP is found by this name; elsewhere the library takes one thread.
OPENMP = ["-fopenmp"] if sys.platform == "linux" else []
STUDY = [
    f'{name}; python_version >= "3.11"'
    for name in (
        *("optuna==5.0.0", "submitit==1.5.4", "filelock>=3.30", "pydantic==2.14.3", "rich==15.0.0"),
        *("scipy>=1.9", "matplotlib>=3.6", "Jinja2>=3.1", "PyYAML>=6", "psutil>=5.9"),
        *("sacrebleu>=2.2", "sacremoses>=0.1.1"),
    )
]
checksum = runpy.run_path(str(ROOT / "resdual_fairseq/native/sources.py"))["checksum"]
HEADERS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / NATIVE).glob("*.h"))

setup(
    name="resdual-fairseq",
    version=VERSION,
    description="ResiDual, the Transformer with dual residual connections, as a fairseq plugin",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9,<3.13",
    packages=find_packages(include=["resdual_fairseq", "resdual_fairseq.*"]),
    ext_modules=[
        # Loaded by cffi, hence of any Python; without a C compiler, generation runs in torch.
        Extension(
            "resdual_fairseq.native._library",
            sources=[f"{NATIVE}/{name}.c" for name in ("generic", "avx2", "avx512", "library")],
            depends=HEADERS,
            define_macros=[("RESDUAL_SOURCES", f"{checksum(ROOT / NATIVE)}u")],
            extra_compile_args=["-O3", "-fno-math-errno", *OPENMP],
            extra_link_args=OPENMP,
            libraries=["m"],
            optional=True,
        )
    ],
    package_data={
        "resdual_fairseq": ["config/*.yaml", "py.typed"],
        "resdual_fairseq.native": ["csrc/*.c", "csrc/*.h"],
        "resdual_fairseq.study.report": ["templates/*.j2", "templates/*.css"],
        "resdual_fairseq.study.report.texts": ["*.yaml"],
    },
    install_requires=[
        # fairseq 0.12.2 does not import on Python 3.11 and newer; ve-fairseq is fairseq's main
        # branch with that mended, under the same import name.
        'fairseq==0.12.2; python_version < "3.11"',
        've-fairseq==0.12.3; python_version >= "3.11"',
        # Older versions run code that a checkpoint carries.
        "torch>=2.6",
        # fairseq uses numpy.compat, which numpy 2 no longer has.
        "numpy>=1.21,<2",
        "sacrebleu>=2.0",
        "subword-nmt>=0.3.8",
    ],
    extras_require={
        "quickstart": ["pooch>=1.8", "sacrebleu>=2.2", "sacremoses>=0.1.1"],
        "diagnostics": ["matplotlib>=3.6", "scipy>=1.9"],
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.2"],
        "study": STUDY,
        "study-energy": ["codecarbon==3.3.2", "nvidia-ml-py"],
        "dev": [
            *STUDY,
            "pooch>=1.8",
            "sacrebleu>=2.2",
            "sacremoses>=0.1.1",
            "matplotlib>=3.6",
            "scipy>=1.9",
            "tensorboard>=2.9",
            "onnx>=1.16",
            "onnxruntime>=1.18",
            "onnxscript>=0.2",
            "pytest>=7",
            "pytest-xdist>=3",
            "hypothesis>=6",
            "ruff",
            "mypy",
        ],
    },
    entry_points={
        "console_scripts": [
            "resdual-average-checkpoints=resdual_fairseq.checkpoints.averaging:main",
            "resdual-diagnose=resdual_fairseq.diagnostics.command:main",
            "resdual-export=resdual_fairseq.export.command:main",
            "resdual-quantize=resdual_fairseq.checkpoints.quantize:main",
            "resdual-study=resdual_fairseq.study.cli:main",
        ]
    },
)
