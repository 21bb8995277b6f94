"""The one file that knows which fairseq, torch and Python are installed."""

import argparse
import importlib.util
import sys
import types
from collections.abc import Iterable
from typing import Any, Callable, Dict, Optional, get_args, get_origin, get_type_hints

import torch
from fairseq import options

from .errors import ResDualError


def check_versions() -> None:
    """Raise on a torch that would run code out of a checkpoint.

    Raises:
        ResDualError: torch is older than 2.6.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        raise ResDualError(
            f"torch {torch.__version__} loads checkpoints without protection from code in them; "
            "install torch 2.6 or newer: pip install 'torch>=2.6'"
        )


def require(extra: str, *packages: str) -> None:
    """Raise before long work that needs packages of one of the extras, where one is missing."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ResDualError(
                f"{package} is not installed; pip install -c constraints.txt '.[{extra}]'"
            )


def let_bf16_run_anywhere(args: argparse.Namespace) -> None:
    """Let ``--bf16`` mean bfloat16 on whatever device there is.

    fairseq's command lines take it for a TPU as well, and then fail on every other machine; through
    hydra ``common.bf16`` does not.

    Args:
        args: fairseq's namespace of a whole command line, changed in place.
    """
    if getattr(args, "bf16", False) and importlib.util.find_spec("torch_xla") is None:
        args.tpu = False


def offer_in_help(add_model_options: Callable[[argparse.ArgumentParser], None]) -> None:
    """Show a model's options in ``fairseq-train --help``.

    fairseq prints its help before it asks which model is meant, hence without any model's options.
    Nothing is changed in a command that does not ask for help.

    Args:
        add_model_options: the model's ``add_args``.
    """
    if not {"-h", "--help"} & set(sys.argv[1:]):
        return
    add_arch = options.add_model_args

    def add_arch_and_options(parser: argparse.ArgumentParser) -> Any:
        group = add_arch(parser)
        add_model_options(parser)
        return group

    options.add_model_args = add_arch_and_options


def with_names(method: Callable[..., Any], **names: object) -> Callable[..., Any]:
    """A function of fairseq's that finds these names in place of its module's.

    For a method that builds a class of its module by name; the module itself is not changed.

    Args:
        method: a function, or a class method as its class gives it.
        names: what to find instead; each has to be a name that the function reads.

    Raises:
        ResDualError: this fairseq's function does not read such a name.
    """
    function = getattr(method, "__func__", method)
    for name in names:
        if name not in function.__code__.co_names:
            raise ResDualError(
                f"{function.__qualname__} of this fairseq does not build a {name}; install the "
                "version that the README's compatibility table names"
            )
    return types.FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def renamed(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A base class's method under another name, for a subclass that overrides and calls it.

    TorchScript has no super(), and compiles a method under the name of its function.
    """
    copy = types.FunctionType(
        method.__code__, method.__globals__, name, method.__defaults__, method.__closure__
    )
    copy.__annotations__ = method.__annotations__
    return copy


def help_group(container: Any, title: str, description: str) -> Any:
    """A titled section of the command's help, where argparse can show one.

    Args:
        container: a parser, or the section of one in which fairseq wants a model's options
            (argparse has no sections in sections).
        title: heading of the new section.
        description: a line under the heading.
    """
    if not isinstance(container, argparse.ArgumentParser):
        return container
    return container.add_argument_group(title, description, argument_default=argparse.SUPPRESS)


def slurm_keys() -> Dict[str, Optional[type]]:
    """The keys of sbatch that submitit takes: an int, a list or a dict; None: one word.

    It names them itself only where Slurm is.
    """
    from submitit import SlurmExecutor
    from submitit.slurm.slurm import _make_sbatch_string

    found: Dict[str, Optional[type]] = {}
    for name, kind in get_type_hints(_make_sbatch_string).items():
        kinds = [get_origin(one) or one for one in (kind, *get_args(kind))]
        is_list = any(one in (list, Iterable) for one in kinds)
        is_whole = int in kinds and str not in kinds
        found[name] = list if is_list else dict if dict in kinds else int if is_whole else None
    return {name: found.get(name) for name in sorted(SlurmExecutor._valid_parameters())}


def map_as_dictionary(kind: type) -> None:
    """Let torch's ``tree_map`` look into a kind of dictionary, of which it makes ordinary ones.

    Only the private module says so in every torch that is supported.
    """
    torch.utils._pytree.register_pytree_node(
        kind, lambda d: (list(d.values()), list(d)), lambda values, keys: dict(zip(keys, values))
    )


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether torch is to call something of a user's at this module, or at every one.

    torch has no public question for it.
    """
    hooks = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    everywhere = torch.nn.modules.module
    return any(
        getattr(module, f"_{kind}") or getattr(everywhere, f"_global_{kind}") for kind in hooks
    )


def clear_forward_pre_hooks(module: torch.nn.Module) -> None:
    """Take away what fairseq's quantization noise attached; torch has no public way to."""
    for part in module.modules():
        part._forward_pre_hooks.clear()
