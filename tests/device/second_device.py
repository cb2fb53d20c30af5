"""A second device that computes on the CPU and, as a GPU does, refuses tensors of the CPU among its own.

A tensor of it is a wrapper around one of the CPU. A mode sees every operation, those of the backward pass
among them, unwraps its tensors, lets the CPU compute and wraps the results; where tensors of both devices
meet in an operation that CUDA refuses them in, it raises :class:`MixedDevices` with the operation's name.
What CUDA takes is taken: a CPU tensor of no dimension in element-wise operations, CPU indices into its own
tensors, and copies. Operations of which CUDA has no deterministic kernel are refused as well, as
``reproducibility`` asks for those.

``install`` changes torch for the whole process, so whoever uses this is a process of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "second"
_SETUP = "_setup_privateuseone_for_python_backend"

_aten = torch.ops.aten
# these bring tensors from one device to the other
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
# these take indices, the second argument, from the CPU as well
_INDEXED = {
    *(_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default),
    *(_aten._index_put_impl_.default, _aten._unsafe_index.Tensor, _aten._unsafe_index_put.default),
}
# not element-wise by their tags, and yet with an argument that may be a CPU tensor of no dimension
_WITH_SCALAR = {
    *(_aten.fill_.Tensor, _aten.index_fill_.int_Tensor, _aten.index_fill.int_Tensor),
    *(_aten.masked_fill_.Tensor, _aten.masked_fill.Tensor),
}


class MixedDevices(RuntimeError):
    """A GPU would have refused an operation."""


class SecondTensor(Tensor):
    """A tensor of the second device.

    Attributes:
        inner: the CPU tensor that holds its values.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl
    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> SecondTensor:
        """Wraps a tensor; one of a sparse layout passes for strided, which only its own operations notice."""
        strided = inner.layout == torch.strided
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride() if strided else None,
            storage_offset=inner.storage_offset() if strided else None,
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Is reached where the mode is off, which no test intends."""
        raise MixedDevices(f"{func} outside of SecondDevice")

    @property
    def is_cuda(self) -> bool:
        """True, so that what is written for GPUs is what is tried."""
        return True

    @property
    def is_sparse(self) -> bool:
        """Whether it is a gradient of some rows only."""
        return self.inner.is_sparse

    def coalesce(self) -> SecondTensor:
        """Of a sparse one, with each row once."""
        return SecondTensor(self.inner.coalesce())

    def indices(self) -> SecondTensor:
        """Of a sparse one."""
        return SecondTensor(self.inner.indices())

    def values(self) -> SecondTensor:
        """Of a sparse one; what a graph counts is a matter of its layout too."""
        return SecondTensor(self.inner.values())

    def tolist(self) -> Any:
        """Nested lists of the values."""
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refused, as for a GPU."""
        raise MixedDevices("numpy() of a tensor on a device; take .cpu() first")

    def __array__(self, dtype: Any = None) -> Any:
        """Refused, as for a GPU."""
        raise MixedDevices("numpy array of a tensor on a device; take .cpu() first")

    def __deepcopy__(self, memo: dict[int, Any]) -> SecondTensor:
        """A copy of its own memory; a parameter's is a parameter."""
        if id(self) not in memo:
            copy = SecondTensor(self.inner.detach().clone()).requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                copy._is_param = True
            memo[id(self)] = copy
        return memo[id(self)]

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        """The values, and that they are here."""
        return f"{NAME}({self.inner!r})"


def _indeterministic(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether torch.use_deterministic_algorithms lists it among those without such a kernel on CUDA."""
    packet = func.overloadpacket
    if packet in (_aten.cumsum, _aten.cumsum_):
        dtype = kwargs.get("dtype") or args[0].dtype
        return dtype.is_floating_point
    if packet is _aten.bincount:
        return len(args) > 1 and args[1] is not None
    if packet is _aten.median:
        return func is not _aten.median.default
    if packet in (_aten.scatter_reduce, _aten.scatter_reduce_):
        return "prod" in args
    return packet in (_aten.histc, _aten.put, _aten.put_)


def _check(func: Any, args: Any, kwargs: Any) -> None:
    """Raises where CUDA would."""
    if func in _COPIES:
        return
    given = list(args)
    if func in _INDEXED and isinstance(args[0], SecondTensor):
        given[1] = None
    tensors = [one for one in tree_leaves((given, kwargs)) if isinstance(one, Tensor)]
    strangers = [one for one in tensors if not isinstance(one, SecondTensor)]
    if func in _INDEXED or func in _WITH_SCALAR or torch.Tag.pointwise in func.tags:
        strangers = [one for one in strangers if one.dim()]
    if strangers:
        shapes = ", ".join(str(tuple(one.shape)) for one in strangers)
        raise MixedDevices(f"{func} with tensors on the CPU, of shape {shapes}, among those on the device")


class SecondDevice(TorchDispatchMode):
    """While it is entered there are tensors of the second device, which :func:`install` has prepared."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Computes an operation on the CPU."""
        kwargs = dict(kwargs or {})
        here = any(isinstance(one, SecondTensor) for one in tree_leaves((args, kwargs)))
        target = kwargs.get("device")
        on_device = here if target is None else torch.device(target).type == NAME
        if target is not None and on_device:
            kwargs["device"] = torch.device("cpu")
        if not (here or on_device):
            return func(*args, **kwargs)
        if here:
            _check(func, args, kwargs)
        if on_device and isinstance(kwargs.get("generator"), torch.Generator):
            raise MixedDevices(f"{func} with a generator on the CPU")
        if _indeterministic(func, args, kwargs):
            raise MixedDevices(f"{func} has no deterministic kernel on CUDA")
        own_args, own_kwargs = tree_map_only(SecondTensor, lambda one: one.inner, (args, kwargs))
        result = func(*own_args, **own_kwargs)
        if func is _aten._to_copy.default:
            return SecondTensor(result) if on_device else result
        if func is _aten.copy_.default:
            return args[0]
        if not on_device:
            return result
        wrapped = tree_map_only(Tensor, SecondTensor, result)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)


class _Module:
    """What torch asks the module of a kind of device, such as ``torch.cuda``."""

    @staticmethod
    def is_initialized() -> bool:
        """Nothing is to be initialised."""
        return True

    is_available = is_initialized

    @staticmethod
    def device_count() -> int:
        """There is one."""
        return 1

    @staticmethod
    def current_device() -> int:
        """The only one."""
        return 0

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """There is no generator of its own."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        """Is asked where autocast is entered, though it is off."""
        return [torch.float16]


def can_be() -> bool:
    """Whether this torch lets a device be made in Python."""
    return hasattr(backend_registration, _SETUP)


def install() -> torch.device:
    """Makes the device known to torch, for the whole process and once.

    Returns:
        The device; there are tensors on it within :class:`SecondDevice`.
    """

    class Guard(torch._C._acc.DeviceGuard):
        """Tells torch that there is a device of the kind that backends from elsewhere are."""

        def type_(self) -> Any:
            return torch._C._autograd.DeviceType.PrivateUse1

    getattr(backend_registration, _SETUP)(NAME, _Module(), device_guard=Guard())
    # torch.tensor copies to the device where a mode sees it, as it does for FakeTensorMode
    torch._C._set_only_lift_cpu_tensors(True)
    return torch.device(NAME, 0)
