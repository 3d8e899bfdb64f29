"""Memory for what is large and made anew at each step of a training."""

from torch import Tensor, empty


class Scratch:
    """Memory that every step uses again: on a CPU, fresh memory of these sizes costs page faults at each step."""

    def __init__(self, like: Tensor):
        self.device, self.dtype = like.device, like.dtype
        self.flat: dict[str, Tensor] = {}

    def __call__(self, name: str, rows: int, columns: int) -> Tensor:
        """Memory of this name as a matrix; it holds whatever it held."""
        size = rows * columns
        if name not in self.flat or len(self.flat[name]) < size:
            self.flat[name] = empty(size, device=self.device, dtype=self.dtype)
        return self.flat[name][:size].view(rows, columns)

    def like(self, name: str, matrix: Tensor) -> Tensor:
        """Memory of this name in the shape of ``matrix``."""
        return self(name, *matrix.shape)
