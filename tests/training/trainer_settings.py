"""Arguments of the short runs of these tests."""

# The library's own arguments, but for the size and the rates of a model from scratch.
SETTINGS = {
    "learning_rate": 1e-3,
    "clip_learning_rate": 5e-4,
    "max_steps": 4,
    "per_device_train_batch_size": 8,
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "logging_steps": 1,
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
}
