"""What `push_to_hub` adds to transformers' own: the code files that `trust_remote_code=True` loads."""

from collections.abc import Iterator
from contextlib import contextmanager


class DRLPublishMixin:
    """Publishes a model or a processor with its code, so that it loads where this package is not installed.

    `push_to_hub` and `save_pretrained(push_to_hub=True)` are transformers' own. For as long as they last, the classes
    are registered for their auto classes: transformers then copies their files and writes the `auto_map`. A folder
    that is only saved holds no code.
    """

    # Attributes whose classes are published too (`None` is the object itself), and the auto class that loads each.
    published_as: dict[str | None, str] = {}

    def push_to_hub(self, *args, **kwargs):
        """As transformers' own, with the code."""
        with self._saved_with_code():
            return super().push_to_hub(*args, **kwargs)

    def save_pretrained(self, save_directory, *args, push_to_hub: bool = False, **kwargs):
        """As transformers' own, with the code when it also pushes."""
        if not push_to_hub:
            return super().save_pretrained(save_directory, *args, **kwargs)
        with self._saved_with_code():
            return super().save_pretrained(save_directory, *args, push_to_hub=True, **kwargs)

    @contextmanager
    def _saved_with_code(self) -> Iterator[None]:
        parts = [
            (self if name is None else getattr(self, name), auto_class)
            for name, auto_class in self.published_as.items()
        ]
        before = [(part, type(part)._auto_class, getattr(part, "auto_map", None)) for part, _ in parts]
        try:
            for part, auto_class in parts:
                type(part)._auto_class = auto_class
            yield
        finally:
            # `auto_map` names files that only what was pushed has.
            for part, auto_class, auto_map in before:
                type(part)._auto_class = auto_class
                if auto_map is None and hasattr(part, "auto_map"):
                    del part.auto_map


__all__ = ["DRLPublishMixin"]
