"""Runs that are killed, run out of disk or go wrong: real processes, and the end of the unbroken run."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState

from drl_tvr import DRLTrainer, DRLTrainingArguments, load_benchmark
from drl_tvr.training import NonFiniteError, TrainingCheckpointError
from drl_tvr.training.checkpointing import INCOMPLETE, last_checkpoint
from drl_tvr.training.global_batches import ShareCollator
from drl_tvr.training.nonfinite import explain_step
from drl_tvr.training.output_folder import hold_folder


FORK = multiprocessing.get_context("fork")
STATES = ("optimizer.pt", "scheduler.pt")
CHECKPOINT_FILES = {
    "model.safetensors",
    "rng_state.pth",
    "trainer_state.json",
    "tokenizer.json",
    "files.json",
    *STATES,
}


def die(*args) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Spy:
    """Kills the process at a moment of what happens to the files of a folder."""

    def __init__(self, folder: Path, moment: Callable[[str, list[str]], bool]):
        self.folder, self.moment = f"{folder}{os.sep}", moment

    def __call__(self, event: str, args: tuple) -> None:
        paths = [arg for arg in map(str, args) if arg.startswith(self.folder)]
        if paths and self.moment(event, [path.removeprefix(self.folder) for path in paths]):
            die()


class At(TrainerCallback):
    """Does something at an event of a step."""

    def __init__(self, event: str, step: int, action: Callable = die):
        setattr(self, event, lambda args, state, control, **kwargs: action() if state.global_step == step else None)


@pytest.fixture(scope="module")
def make_trainer(small_root, tiny_processor, make_tiny_model, tmp_path_factory) -> Callable:
    """A trainer of 6 steps, 4 of them an epoch, with a checkpoint and an evaluation every 2."""
    splits = {split: load_benchmark("moving-shapes", small_root, split) for split in ("train", "validation")}
    frames = tmp_path_factory.mktemp("frames")

    def make(folder: Path, callbacks=(), fields=(), **args) -> DRLTrainer:
        settings = {
            "learning_rate": 1e-3,
            "clip_learning_rate": 5e-4,
            "max_steps": 6,
            "per_device_train_batch_size": 24,
            "eval_strategy": "steps",
            "eval_steps": 2,
            "save_strategy": "steps",
            "save_steps": 2,
            "metric_for_best_model": "t2v_R@10",  # of ten videos always 100, so the first checkpoint is the best
            "logging_steps": 1,
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            "frame_cache_dir": str(frames),
        }
        return DRLTrainer(
            make_tiny_model(**{"cdcr": "random", **dict(fields)}),  # which draws random numbers in every step
            DRLTrainingArguments(str(folder), **{**settings, **args}),
            splits["train"],
            splits["validation"],
            tiny_processor,
            callbacks=list(callbacks),
        )

    return make


def run(make_trainer: Callable, folder: Path, arrange: Callable = lambda trainer: None, moment=None, **args) -> None:
    """What a script does: train from the last complete checkpoint on, and save the model."""
    torch.set_num_threads(1)
    if moment is not None:
        sys.addaudithook(Spy(folder, moment))
    trainer = make_trainer(folder, **args)
    arrange(trainer)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    trainer.save_model()


def in_child(*args, wait: float = 100, **kwargs) -> tuple[int, tuple[str, str, dict]]:
    """`run` in a process of its own; its exit code, and the error that it ended with."""
    receiving, sending = FORK.Pipe(duplex=False)

    def target():
        try:
            run(*args, **kwargs)
        except (ValueError, OSError) as error:
            sending.send((type(error).__name__, str(error), vars(error)))
            sys.exit(1)

    process = FORK.Process(target=target)
    process.start()
    sending.close()
    process.join(wait)
    if process.is_alive():
        process.kill()
        process.join()
        pytest.fail("it hangs")
    error = receiving.recv() if receiving.poll() and process.exitcode == 1 else ("", "", {})
    return process.exitcode, error


def whole_checkpoints(folder: Path) -> list[str]:
    """The names of all that is called a checkpoint, each of which can be resumed from."""
    found = sorted(folder.glob("checkpoint-*"))
    for checkpoint in found:
        assert {path.name for path in checkpoint.iterdir()} >= CHECKPOINT_FILES
        load_file(checkpoint / "model.safetensors")
        for name in STATES:
            torch.load(checkpoint / name, weights_only=True)
    return [checkpoint.name for checkpoint in found]


def history(folder: Path) -> list[dict]:
    """All that was logged until the last checkpoint, without times."""
    log = TrainerState.load_from_json(Path(last_checkpoint(folder), "trainer_state.json")).log_history
    return [
        {name: value for name, value in entry.items() if "_per_" not in name and "runtime" not in name}
        for entry in log
    ]


def assert_same_end(folder: Path, unbroken: Path) -> None:
    """Weights, moments of the optimizer, schedule, log and files of the unbroken run, bit for bit."""
    assert whole_checkpoints(folder) == whole_checkpoints(unbroken)
    assert (folder / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        found, wanted = (Path(last_checkpoint(path), name).read_bytes() for path in (folder, unbroken))
        assert found == wanted, name
    assert history(folder) == history(unbroken)
    assert {path.name for path in folder.iterdir()} == {path.name for path in unbroken.iterdir()}


@pytest.fixture(scope="module")
def unbroken(make_trainer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert in_child(make_trainer, folder)[0] == 0
    return folder


def renamed_to(name: str) -> Callable:
    """Just before something gets a name."""
    return lambda event, paths: event == "os.rename" and paths[-1] == name


def after_renaming_to(name: str) -> Callable:
    """At the first thing that happens to a file once something has a name."""
    renamed = []

    def moment(event, paths):
        if renamed:
            return True
        renamed.extend(paths if event == "os.rename" and paths[-1] == name else [])
        return False

    return moment


def in_evaluation(trainer: DRLTrainer) -> None:
    def look(module, args):
        if not module.training and trainer.state.global_step == 4:
            die()

    trainer.model.temporal_encoder.register_forward_pre_hook(look)


def half_of_the_weights(folder: Path) -> int:
    return (folder / "checkpoint-6" / "model.safetensors").stat().st_size // 2


def half_of_the_moments(folder: Path) -> int:
    """More than the weights have."""
    found = [(folder / "checkpoint-6" / name).stat().st_size for name in ("model.safetensors", "optimizer.pt")]
    assert found[0] < 0.7 * found[1]
    return int(0.7 * found[1])


OLD = f"{INCOMPLETE}/old-checkpoint-4"
# When, how, and the checkpoints that are there then.
MOMENTS = {
    "in the middle of a step": ({"callbacks": [At("on_pre_optimizer_step", 2)]}, [2]),
    "before the first checkpoint": ({"callbacks": [At("on_step_end", 1)]}, []),
    "in an evaluation": ({"arrange": in_evaluation}, [2]),
    "between evaluation and checkpoint": ({"callbacks": [At("on_evaluate", 4)]}, [2]),
    "in the middle of the weights": ({"limit": half_of_the_weights}, [2]),
    "in the middle of the optimizer's moments": ({"limit": half_of_the_moments}, [2]),
    "before a checkpoint has its name": ({"moment": renamed_to("checkpoint-4")}, [2]),
    "once a checkpoint has its name": ({"moment": after_renaming_to("checkpoint-4")}, [2, 4]),
    "before the oldest loses its name": ({"moment": renamed_to(OLD)}, [2, 4, 6]),
    "in the middle of deleting the oldest": ({"moment": lambda e, paths: e == "os.rmdir" and paths == [OLD]}, [2, 6]),
    "after the last step": ({"callbacks": [At("on_train_end", 6)]}, [2, 6]),
    "before the model has its weights": ({"moment": renamed_to("model.safetensors")}, [2, 6]),
}


@pytest.mark.parametrize("when", MOMENTS)
def test_a_killed_run_goes_on_to_the_weights_of_the_unbroken_one(when, make_trainer, unbroken, tmp_path):
    how, steps = MOMENTS[when]
    how = dict(how)
    if "limit" in how:
        limit = how.pop("limit")(unbroken)

        def set_limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        how["callbacks"] = [At("on_step_end", 3, set_limit)]
    folder = tmp_path / "run"
    code, _ = in_child(make_trainer, folder, **how)
    assert -code in (signal.SIGKILL, signal.SIGXFSZ)
    assert whole_checkpoints(folder) == [f"checkpoint-{step}" for step in steps]
    assert in_child(make_trainer, folder)[0] == 0
    assert_same_end(folder, unbroken)


def test_a_run_that_is_killed_again_and_again_ends_the_same(make_trainer, unbroken, tmp_path):
    folder = tmp_path / "run"
    for count in (12, 30, 47, 66, 30, 25):
        left = [count]

        def moment(event, paths, left=left):
            left[0] -= 1
            return left[0] == 0

        code, _ = in_child(make_trainer, folder, moment=moment)
        assert code == -signal.SIGKILL, count
        whole_checkpoints(folder)
    assert in_child(make_trainer, folder)[0] == 0
    assert_same_end(folder, unbroken)


def test_with_room_for_one_checkpoint_the_last_is_not_deleted_in_part(make_trainer, tmp_path):
    """`Trainer` would do so, at the end of training."""
    killed, done = tmp_path / "killed", tmp_path / "done"
    old = f"{INCOMPLETE}/old-checkpoint-6"
    moment = lambda event, paths: event == "os.rmdir" and paths == [old]  # noqa: E731
    assert in_child(make_trainer, killed, moment=moment, save_total_limit=1)[0] == -signal.SIGKILL
    assert whole_checkpoints(killed) == ["checkpoint-2"] and (killed / old).is_dir()
    for folder in (killed, done):
        assert in_child(make_trainer, folder, save_total_limit=1)[0] == 0
    assert_same_end(killed, done)


def test_the_best_checkpoint_is_found_where_the_folder_was_moved_to(make_trainer, tmp_path):
    before, after, unbroken = (tmp_path / name for name in ("before", "after", "unbroken"))
    assert in_child(make_trainer, before, callbacks=[At("on_train_end", 6)])[0] == -signal.SIGKILL
    before.rename(after)
    for folder in (after, unbroken):
        assert in_child(make_trainer, folder)[0] == 0
    weights = [path / "model.safetensors" for path in (after, unbroken, unbroken / "checkpoint-2")]
    assert len({path.read_bytes() for path in weights}) == 1
    shutil.rmtree(after / "checkpoint-2")
    code, (kind, message, _) = in_child(make_trainer, after)
    assert (code, kind) == (1, "TrainingCheckpointError") and "its best checkpoint is neither at" in message


def damage(file: Path) -> None:
    """Flip one bit."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth"])
def test_a_run_goes_on_from_no_checkpoint_that_lacks_a_file(name, make_trainer, unbroken, tmp_path):
    folder = shutil.copytree(unbroken, tmp_path / "run")
    (folder / "checkpoint-6" / name).unlink()
    said = f"{folder / 'checkpoint-6' / name}: found no file, expected the one that was written. "
    code, (kind, message, _) = in_child(make_trainer, folder)
    assert (code, kind) == (1, "TrainingCheckpointError") and message.startswith(said)
    assert f"Delete checkpoint-6 to go on from {folder / 'checkpoint-2'}." in message
    shutil.rmtree(folder / "checkpoint-6")
    assert in_child(make_trainer, folder)[0] == 0
    assert_same_end(folder, unbroken)


def test_a_damaged_best_checkpoint_is_never_loaded(make_trainer, unbroken, tmp_path):
    """Neither when it is found at the beginning, nor when it happens meanwhile."""
    before, meanwhile = (tmp_path / name / "checkpoint-2" / "model.safetensors" for name in ("before", "meanwhile"))
    shutil.copytree(unbroken, tmp_path / "before")
    damage(before)
    for best, callbacks in ((before, []), (meanwhile, [At("on_step_end", 5, lambda: damage(meanwhile))])):
        code, (kind, message, _) = in_child(make_trainer, best.parents[1], callbacks=callbacks)
        assert (code, kind) == (1, "TrainingCheckpointError")
        assert message.startswith(f"{best}: found another content than was written")


def test_early_stopping_goes_on_with_the_patience_that_it_had(make_trainer, tmp_path):
    """Two evaluations without a better score, with a kill between them or at the end: as many steps as unbroken."""

    def arrange(trainer):
        trainer.add_callback(EarlyStoppingCallback(2))

    unbroken = tmp_path / "unbroken"
    assert in_child(make_trainer, unbroken, arrange, max_steps=20)[0] == 0
    assert history(unbroken)[-1]["step"] == 6
    for name, callback in {"between": At("on_step_end", 5), "end": At("on_train_end", 6)}.items():
        folder = tmp_path / name
        assert in_child(make_trainer, folder, arrange, callbacks=[callback], max_steps=20)[0] == -signal.SIGKILL
        assert in_child(make_trainer, folder, arrange, max_steps=20)[0] == 0
        assert_same_end(folder, unbroken)


def test_what_is_half_is_no_checkpoint(make_trainer, tmp_path):
    """As transformers alone leaves it when it is killed."""
    for name, file in {"checkpoint-2": "trainer_state.json", "checkpoint-4": "model.safetensors"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    (tmp_path / "checkpoint-best").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    assert last_checkpoint(tmp_path / "absent") is None
    trainer = make_trainer(tmp_path / "run")
    with pytest.raises(TrainingCheckpointError, match="run: found no complete checkpoint to resume from"):
        trainer.train(resume_from_checkpoint=True)
    with pytest.raises(TrainingCheckpointError, match="checkpoint-4: found no trainer_state.json"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))


# The disk.


@pytest.mark.parametrize(("limit", "file"), [(half_of_the_weights, "model"), (half_of_the_moments, "optimizer.pt")])
def test_a_disk_without_room_is_an_error_and_the_last_checkpoint_stays(limit, file, make_trainer, unbroken, tmp_path):
    size = limit(unbroken)
    callback = At("on_step_end", 3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    folder = tmp_path / "run"
    code, (kind, message, _) = in_child(make_trainer, folder, callbacks=[callback])
    assert (code, kind) == (1, "TrainingCheckpointError")
    assert f"{folder / 'checkpoint-4'}: cannot write {file}" in message and " MB were free there" in message
    assert f"The last complete checkpoint is {folder / 'checkpoint-2'}." in message
    assert whole_checkpoints(folder) == ["checkpoint-2"] and not list((folder / INCOMPLETE).iterdir())
    assert in_child(make_trainer, folder)[0] == 0
    assert_same_end(folder, unbroken)


def test_a_disk_that_is_full_is_an_error_and_the_last_checkpoint_stays(make_trainer, unbroken, tmp_path):
    size = sum(path.stat().st_size for path in (unbroken / "checkpoint-6").iterdir())
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(1.7 * size)}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        folder = disk / "run"
        code, (kind, message, _) = in_child(make_trainer, folder)
        assert (code, kind) == (1, "TrainingCheckpointError")
        assert "checkpoint-4: cannot write optimizer.pt" in message and "; 0.0 MB were free there" in message
        assert whole_checkpoints(folder) == ["checkpoint-2"]
        subprocess.run(["mount", "-o", f"remount,size={10 * size}", str(disk)], check=True)
        assert in_child(make_trainer, folder)[0] == 0
        assert_same_end(folder, unbroken)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("internal", [False, True])
def test_a_disk_that_is_full_leaves_the_model_that_was_there(internal, make_trainer, tmp_path):
    """Also where the push is left for later, as at the end of the training example."""
    trainer = make_trainer(tmp_path / "run")
    trainer.save_model()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with torch.no_grad():
        trainer.model.text_projection.weight.zero_()
    write = trainer._save

    def write_and_fail(output_dir, state_dict=None):
        write(output_dir, state_dict)
        raise OSError(errno.ENOSPC, "No space left on device", str(Path(output_dir) / "config.json"))

    trainer._save = write_and_fail
    with pytest.raises(TrainingCheckpointError, match="cannot write config.json"):
        trainer.save_model(_internal_call=internal)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


# Processes that die.


def test_a_loader_of_batches_that_dies_is_an_error(make_trainer, tmp_path):
    def kill_a_worker():
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)

    code, (kind, message, _) = in_child(
        make_trainer,
        tmp_path / "run",
        callbacks=[At("on_step_end", 3, kill_a_worker)],
        dataloader_num_workers=2,
        per_device_train_batch_size=8,
    )
    assert (code, kind) == (1, "DataLoaderWorkerError")
    assert "A process that loads batches died: " in message and "try fewer `dataloader_num_workers`" in message
    # Batches that were loaded before may still be trained on.
    assert whole_checkpoints(tmp_path / "run")[0] == "checkpoint-2"


def as_rank(rank: int, port: int, *args, **kwargs) -> None:
    """`run` as one process of two."""
    for state in (AcceleratorState, PartialState, GradientState):
        state._shared_state.clear()
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    run(*args, **kwargs)


def two_processes(*args, wait: float = 100, **of_the_second) -> list[int]:
    """`run` in two processes that train together; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        FORK.Process(target=as_rank, args=(rank, port, *args), kwargs=of_the_second if rank else {}) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(wait)
    hung = [process for process in processes if process.is_alive()]
    for process in hung:
        process.kill()
        process.join()
    assert not hung, "a process hangs"
    return [process.exitcode for process in processes]


@pytest.fixture(scope="module")
def make_half(make_trainer) -> Callable:
    return lambda folder, **args: make_trainer(folder, per_device_train_batch_size=12, **args)


def test_two_processes_of_which_one_is_killed_end_and_go_on(make_half, tmp_path, capfd):
    """The second has written its random numbers, the first has not named the checkpoint yet."""
    unbroken, folder = tmp_path / "unbroken", tmp_path / "run"
    assert two_processes(make_half, unbroken) == [0, 0]

    def arrange(trainer):
        write = trainer._save_rng_state

        def write_and_die(output_dir):
            write(output_dir)
            if trainer.state.global_step == 4:
                die()

        trainer._save_rng_state = write_and_die

    codes = two_processes(make_half, folder, arrange=arrange)
    assert codes[0] != 0 and codes[1] == -signal.SIGKILL
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-2"]
    random_state = folder / "checkpoint-2" / "rng_state_1.pth"
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in (folder / "checkpoint-2").iterdir()}
    content = random_state.read_bytes()
    random_state.unlink()
    capfd.readouterr()
    assert two_processes(make_half, folder) == [1, 1]
    assert capfd.readouterr().err.count(f"TrainingCheckpointError: {random_state}: found no file") == 2
    random_state.write_bytes(content)
    assert two_processes(make_half, folder) == [0, 0]
    assert (folder / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()
    for name in ("model.safetensors", "optimizer.pt", "rng_state_0.pth", "rng_state_1.pth"):
        assert (folder / "checkpoint-6" / name).read_bytes() == (unbroken / "checkpoint-6" / name).read_bytes(), name
    assert {path.name for path in folder.iterdir()} == {path.name for path in unbroken.iterdir()}


def test_processes_that_see_two_disks_all_end_before_any_work(make_half, tmp_path, capfd):
    """As two machines without a shared one: the second would never find the best checkpoint."""

    def elsewhere(trainer):
        trainer.args.output_dir = str(tmp_path / "disk-of-the-second")

    assert two_processes(make_half, tmp_path / "run", arrange=elsewhere) == [1, 1]
    said = capfd.readouterr().err
    assert said.count("OutputFolderError: ") == 2 and "is not seen by 1 of 2" in said
    assert not list((tmp_path / "run").glob("*"))


def test_processes_that_find_another_run_in_their_folder_all_end(make_half, tmp_path, capfd):
    lock = hold_folder(tmp_path)
    assert two_processes(make_half, tmp_path) == [1, 1]
    lock.release()
    said = capfd.readouterr().err
    assert said.count("RunInProgressError: ") == 2 and f"process {os.getpid()} on " in said


# Numbers that are not finite.


def spoil(module: torch.nn.Module, item: int, value: float = float("nan")) -> None:
    """Make one item of a module's output not finite."""

    def hook(module, inputs, output):
        output = output.clone()
        output[item] = value
        return output

    module.register_forward_hook(hook)


def spoiled_frames(trainer: DRLTrainer) -> None:
    trainer.add_callback(At("on_step_begin", 2, lambda: spoil(trainer.model.visual_projection, 0)))


def spoiled_words(trainer: DRLTrainer) -> None:
    trainer.add_callback(At("on_step_begin", 2, lambda: spoil(trainer.model.text_projection, 3, float("inf"))))


def spoiled_weight(trainer: DRLTrainer) -> None:
    def fill():
        trainer.model.text_projection.weight.data[0, 0] = float("nan")

    trainer.add_callback(At("on_step_begin", 2, fill))


def spoiled_decorrelation(trainer: DRLTrainer) -> None:
    def fill():
        trainer.model.decorrelation = lambda text, video, seed: text.tokens.sum() * float("inf")

    trainer.add_callback(At("on_step_begin", 2, fill))


def spoiled_gradient(trainer: DRLTrainer) -> None:
    def fill():
        trainer.model.logit_scale.register_hook(lambda gradient: gradient * float("nan"))

    trainer.add_callback(At("on_step_begin", 2, fill))


CAUSES = {
    spoiled_frames: ("loss", "The frame features of 1 of 24 items .* from the module `visual_projection` on"),
    spoiled_words: ("loss", "The word features of 1 of 24 items .* from the module `text_projection` on"),
    spoiled_weight: ("loss", "`text_projection.weight` was not finite before this step"),
    spoiled_decorrelation: (
        "loss",
        "The features are finite, .*cdcr_loss is (inf|-inf|nan), at a logit",
    ),
    spoiled_gradient: ("gradient", "The loss is finite, but its gradient by `logit_scale` is not"),
}


@pytest.mark.parametrize("spoiled", CAUSES)
def test_what_is_not_finite_stops_the_run_before_the_step(spoiled, make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run")
    spoiled(trainer)
    steps = []
    trainer.add_callback(At("on_optimizer_step", 2, lambda: steps.append(3)))
    what, cause = CAUSES[spoiled]
    with pytest.raises(NonFiniteError, match=f"Step 3: the {what} is not finite. {cause}") as caught:
        trainer.train()
    error, dataset = caught.value, trainer.train_dataset
    assert (error.step, steps) == (3, []) and whole_checkpoints(tmp_path / "run") == ["checkpoint-2"]

    # The ids are those of the batch: the third of the first epoch.
    rows = list(make_trainer(tmp_path / "order").get_train_dataloader().batch_sampler)[2]
    videos = [dataset.data.videos["video_id"][dataset.caption_to_video[row]] for row in rows]
    first = {spoiled_words: 3}.get(spoiled, 0)
    order = [first, *(item for item in range(24) if item != first)]
    assert error.video_ids == [videos[item] for item in order] and error.captions == [rows[item] for item in order]
    assert f"{videos[first]} (caption {error.captions[0]}), " in str(error)


def test_the_cause_is_looked_for_in_the_precision_of_the_step(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run", bf16=True)
    spoiled_gradient(trainer)
    types = []
    trainer.model.text_projection.register_forward_hook(lambda module, inputs, output: types.append(output.dtype))
    with pytest.raises(NonFiniteError, match="its gradient by `logit_scale` is not"):
        trainer.train()
    assert len(types) > 3 and set(types) == {torch.bfloat16}


def test_with_a_scale_that_is_used_up_a_gradient_that_is_not_finite_is_no_overflow(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run")
    spoiled_gradient(trainer)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-15)
    with pytest.raises(NonFiniteError, match="its gradient by `logit_scale` is not"):
        trainer.train()


@pytest.mark.parametrize("spoiled", [spoiled_gradient, "text_projection.weight", "visual_projection.weight"])
def test_the_cause_is_found_in_chunks_where_the_step_has_chunks(spoiled, make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run", gradient_cache_chunk_size=10, per_device_eval_batch_size=10)
    name = "logit_scale" if spoiled is spoiled_gradient else spoiled
    if spoiled is not spoiled_gradient:
        parameter = trainer.model.get_parameter(name)
        fill = lambda: parameter.register_hook(lambda gradient: gradient * float("inf"))  # noqa: E731
        trainer.add_callback(At("on_step_begin", 2, fill))
    else:
        spoiled(trainer)
    sizes = []
    trainer.model.text_projection.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    with pytest.raises(
        NonFiniteError, match=f"the gradient is not finite. The loss is .* its gradient by `{name}` is"
    ):
        trainer.train()
    assert max(sizes) <= 10


def test_what_is_not_finite_is_named_though_memory_for_the_cause_is_missing(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run")
    spoiled_gradient(trainer)

    def run_out(module, args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.")

    fill = lambda: trainer.model.text_projection.register_forward_pre_hook(run_out)  # noqa: E731
    norm = trainer._clip_grad_norm  # what comes after the last backward pass

    def clip(model):
        if trainer.state.global_step == 2:
            fill()
        return norm(model)

    trainer._clip_grad_norm = clip
    said = "Step 3: the gradient is not finite. The search for the cause failed: CUDA out of memory"
    with pytest.raises(NonFiniteError, match=said) as caught:
        trainer.train()
    assert len(caught.value.captions) == 24


def test_a_share_without_pairs_is_not_blamed(make_trainer, tmp_path):
    """Though what stands in for it is not finite."""
    trainer = make_trainer(tmp_path / "run")
    spoil(trainer.model.visual_projection, 0)
    batch = ShareCollator(trainer.data_collator, trainer.train_dataset)([])
    error = explain_step(trainer, [batch], {"contrastive_loss": [torch.tensor(float("nan"))]})
    assert (error.captions, error.video_ids) == ([], []) and "Pairs: none." in str(error)
    assert error.cause.startswith("The features are finite, the loss of them is not: contrastive_loss is nan")


def test_pairs_are_known_whatever_a_collator_makes_of_their_pixels(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run")
    collate = trainer.data_collator

    def to_floats(items):
        assert set(items[0]) == {"caption", "frames"}
        batch = collate(items)
        batch["pixel_values_videos"] = batch["pixel_values_videos"].float() / 255
        batch["pixel_values_videos"][1, 0, 0, 0, 0] = float("nan")
        return batch

    trainer.data_collator = to_floats
    rows = list(trainer.get_train_dataloader().batch_sampler)[0]
    trainer = make_trainer(tmp_path / "run")
    trainer.data_collator = to_floats
    with pytest.raises(NonFiniteError, match="Step 1: .* The pixels of 1 of 24 items of the batch") as caught:
        trainer.train()
    assert caught.value.captions == [rows[1], rows[0], *rows[2:]]


def test_all_processes_tell_what_one_has_that_is_not_finite(make_half, tmp_path, capfd):
    def spoil_one(trainer):
        trainer.add_callback(At("on_step_begin", 2, lambda: spoil(trainer.model.visual_projection, 0)))

    causes = {
        spoil_one: "the loss is not finite. Process 1: The frame features of 1 of 12 items of the batch",
        spoiled_gradient: "the gradient is not finite. Process 1: The loss is finite, but its gradient by `logit_sc",
    }
    for number, (spoiled, cause) in enumerate(causes.items()):
        folder = tmp_path / f"run-{number}"
        assert two_processes(make_half, folder, arrange=spoiled) == [1, 1]
        said = capfd.readouterr().err
        assert said.count(f"NonFiniteError: Step 3: {cause}") == 2, said
        assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-2"]


def test_the_parts_of_the_loss_are_means_since_the_last_log_and_take_no_more_room(make_trainer, tmp_path):
    runs = []
    for name, fields in {"each": {}, "pairs": {"logging_steps": 2}, "never": {"logging_strategy": "no"}}.items():
        runs.append(make_trainer(tmp_path / name, **fields))
        runs[-1].train()
    each, pairs, never = runs
    for part in ("contrastive_loss", "cdcr_loss"):
        single, double = ([e[part] for e in t.state.log_history if part in e] for t in (each, pairs))
        means = [(single[i] + single[i + 1]) / 2 for i in (0, 2, 4)]
        assert double == pytest.approx(means, abs=2e-4)
    assert not any(never._loss_parts.values())
