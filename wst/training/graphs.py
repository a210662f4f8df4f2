"""A function of tensors as a CUDA graph: captured once, then launched as a whole by one call.

At batch 32 a step of a large backbone is a thousand small kernels, and launching them one by one takes longer
than running them.  Compiled first, it is half as many: most of what is not a product of matrices is fused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from weakref import WeakSet

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from wst.errors import TimeLimitError

Tensors = Mapping[str, Tensor]
Function = Callable[[Tensors], Sequence[Tensor | None]]
_WARM_UPS = 3
"""Calls before the capture, in which libraries choose their kernels and allocate their workspaces."""


class CompilerError(RuntimeError):
    """The compiler does not take a function; the message says why."""


class Graph:
    """A pure function of named tensors on a CUDA device, captured with the first of them.

    A replay reads its arguments where the capture found them, so they are copied there first, and writes its
    results where the capture left them: these hold until the next call of any graph.  What the function
    closes over must stay where it is and as it is.

    Args:
        function: neither draws random numbers nor waits for the device.
        tensors: arguments, whose shapes and types those of every call must have.
        compiled: fuse its operations first.

    Raises:
        RuntimeError: it cannot be captured; out of memory as ``torch.OutOfMemoryError``.
        CompilerError: it cannot be compiled.
        TimeLimitError: the time was over meanwhile.
    """

    def __init__(self, function: Function, tensors: Tensors, compiled: bool = False):
        self._into = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self._last: dict[str, Tensor] = {}
        """What was copied there last: a tensor that never changes need not be copied again."""
        with _letting_through():
            if compiled:
                function = _compiled(function, self._into)
            self._capture(function)
        self._kept = function if compiled else None
        """It alone has the tensors that tracing made constants of."""

    def _capture(self, function: Function) -> None:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                function(self._into)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        other = next(iter(_living), None)
        with torch.cuda.graph(self._graph, pool=None if other is None else other._graph.pool()):
            self._results = function(self._into)
        _living.add(self)

    def __call__(self, tensors: Tensors, constant: Collection[str] = ()) -> Sequence[Tensor | None]:
        """The function's results; they are overwritten by the next call.

        Args:
            tensors: the arguments.
            constant: names of those that stay as they are until another is given.
        """
        names = [name for name in self._into if tensors[name] is not self._last.get(name)]
        torch._foreach_copy_([self._into[name] for name in names], [tensors[name] for name in names])
        self._last = {name: tensors[name] for name in constant}
        self._graph.replay()
        return self._results


_living: WeakSet[Graph] = WeakSet()
"""Graphs of this process, which all work in the same memory: no two run at a time, and what one gives is read
before the next runs."""


def _compiled(function: Function, tensors: Tensors) -> Function:
    """The function, differentiation and all, as fused kernels.

    torch's compiler does not follow ``torch.autograd.grad``; so what it is given are the operations that
    the function comes to with these tensors, of the backward pass, too.
    """
    try:
        traced = make_fx(lambda named: function(named))(tensors)
        found = torch.no_grad()(torch.compile(traced, dynamic=False, fullgraph=True))
        found(tensors)  # which compiles
    except Exception as error:  # it calls other compilers, any of which may fail
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CompilerError(first) from error
    return found


@contextmanager
def _letting_through() -> Iterator[None]:
    """Raise what ended the trial rather than what others made of it on its way."""
    try:
        yield
    except Exception as error:
        found: BaseException | None = error
        while found is not None:
            if isinstance(found, TimeLimitError | torch.OutOfMemoryError):
                raise found from None
            found = found.__cause__ or found.__context__
        raise
