"""Publish the code files that `trust_remote_code=True` loads together with a model or a processor."""

from collections.abc import Iterator
from contextlib import contextmanager


class DRLPublishMixin:
    """Mixin that publishes a model or a processor with its code, so that it loads where this package is not installed.

    `push_to_hub` and `save_pretrained(push_to_hub=True)` call those of transformers. While they run, the classes are
    registered for their auto classes, so transformers copies their files and writes the `auto_map`. A folder that is
    only saved holds no code.
    """

    # Attributes whose classes are published too (`None` is the object itself), with the auto class that loads each.
    published_as: dict[str | None, str] = {}

    def push_to_hub(self, *args, **kwargs):
        """Push to the Hub, with the code."""
        with self._saved_with_code():
            return super().push_to_hub(*args, **kwargs)

    def save_pretrained(self, save_directory, *args, push_to_hub: bool = False, **kwargs):
        """Save, with the code if `push_to_hub` is set."""
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
            # `auto_map` names code files, which only the pushed repository has.
            for part, auto_class, auto_map in before:
                type(part)._auto_class = auto_class
                if auto_map is None and hasattr(part, "auto_map"):
                    del part.auto_map


__all__ = ["DRLPublishMixin"]
