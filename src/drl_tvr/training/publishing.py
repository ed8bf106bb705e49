"""A trainer that ends with our model card, and publishes what belongs to a model."""

from ..data.loading import PairDataset
from ..hub import ModelCost, measure_cost, push_checkpoint, sampling_of, write_model_card
from .checkpointing import CheckpointingTrainer


class PublishingTrainer(CheckpointingTrainer):
    """A trainer that writes a card of the run, with results where it has any."""

    def __init__(self, *args, **kwargs):
        self.args.check_hub_strategy()  # `set_push_to_hub` sets another by default
        super().__init__(*args, **kwargs)
        self._results: tuple[dict[str, float], dict] | None = None  # metrics, and the provenance of the split
        self._intervals: dict[str, tuple[float, float]] | None = None
        self._train_seconds: float | None = None
        self._cost: ModelCost | None = None

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """As transformers' own; then the model card is written, still without results."""
        output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        self._results = self._intervals = None
        # A resumed run knows its own part only.
        self._train_seconds = None if resume_from_checkpoint else output.metrics.get("train_runtime")
        self.create_model_card()
        return output

    def create_model_card(
        self,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
    ) -> None:
        """Write the model card, in place of transformers' own, into `output_dir`.

        The results are those of the last evaluation after training, so of the model as it is saved.

        Args:
            license (`str`, *optional*): The weights' licence, as the Hub spells it.
            tags (`str` or `list[str]`, *optional*): More tags for the Hub.
            model_name (`str`, *optional*): Where the model is; by default its repository, or `output_dir`.
            finetuned_from (`str`, *optional*): The checkpoint that training started from; by default the one that the
                model was loaded from.
        """
        if not self.is_world_process_zero():
            return
        metrics, provenance = self._results or (None, (self.train_dataset or self.eval_dataset).data.provenance)
        model = self.accelerator.unwrap_model(self.model)
        if self._cost is None and not self.is_fsdp_enabled:  # which leaves a process a part of the model
            self._cost = measure_cost(model, self.processing_class)
        judge = self.eval_dataset if self.args.load_best_model_at_end else None
        write_model_card(
            self.args.output_dir,
            self.hub_model_id or model_name or self.args.output_dir,
            model.config,
            self.args,
            sampling_of(self.processing_class),
            provenance,
            steps=self.state.global_step,
            kept_step=self.state.best_global_step if self.args.load_best_model_at_end else None,
            train_seconds=self._train_seconds,
            metrics=metrics,
            intervals=self._intervals,
            chosen_on=judge.data.split if isinstance(judge, PairDataset) else None,
            clip=finetuned_from or model.config._name_or_path or None,
            cost=self._cost,
            license=license,
            tags=[tags] if isinstance(tags, str) else tags or [],
        )

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ):
        """Publish the model with its processor, card, results and code: see [`~hub.push_checkpoint`].

        Args:
            commit_message (`str`, *optional*, defaults to `"End of training"`): Of the one commit.
            token (`str`, *optional*): By default `hub_token` of the arguments.
            revision (`str`, *optional*): By default `hub_revision` of the arguments.
            private (`bool`, *optional*): By default `hub_private_repo` of the arguments.
            kwargs: See `create_model_card`.

        Returns:
            `huggingface_hub.CommitInfo`: The commit, on the main process.

        Raises:
            [`~hub.PublishError`]: When the repository is public and should be private, and as in
                [`~hub.push_checkpoint`].
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        token, private = token or self.args.hub_token, self.args.hub_private_repo if private is None else private
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.create_model_card(**kwargs)
        return push_checkpoint(
            self.args.output_dir,
            self.hub_model_id,
            private=bool(private),
            revision=revision or self.args.hub_revision,
            message=commit_message,
            token=token,
        )

    def _push_from_checkpoint(self, checkpoint_folder):
        """Nothing: what is published goes up in the end, file by file of a list."""

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the model; the arguments that are pickled beside it don't hold the token."""
        token, self.args.hub_token = self.args.hub_token, None
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.args.hub_token = token


__all__ = ["PublishingTrainer"]
