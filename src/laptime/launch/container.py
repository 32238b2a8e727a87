"""The command that runs another command inside a container: Apptainer and Docker; pyxis is an option of srun."""

from laptime.launch.request import Launch

PASSED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells


def wrapped(launch: Launch, words: list[str], *, folder: str, passed: tuple[str, ...] = ()) -> list[str]:
    """`words` inside the container of a launch; `folder`: the working folder, seen in it under the same path."""
    match launch.container:
        case "apptainer":
            accelerated = ["--nv"] if launch.accelerated else []
            mounts = [f"--bind={mount}" for mount in (f"{folder}:{folder}", *launch.mounts)]
            return ["apptainer", "exec", *accelerated, *mounts, f"--pwd={folder}", launch.image, *words]
        case "docker":
            accelerated = ["--gpus=all"] if launch.accelerated else []
            mounts = [f"--volume={mount}" for mount in (f"{folder}:{folder}", *launch.mounts)]
            names = [pair.partition("=")[0] for pair in launch.environment]
            told = [f"--env={name}" for name in (*names, *passed)]
            return ["docker", "run", "--rm", "--init", "--network=host", "--ipc=host", *accelerated, *mounts, *told,
                    f"--workdir={folder}", launch.image, *words]
        case _:
            return words


def srun_options(launch: Launch, *, folder: str) -> list[str]:
    """What srun has to be told of the container, where pyxis (enroot) runs it."""
    if launch.container != "pyxis":
        return []
    mounts = ",".join((f"{folder}:{folder}", *launch.mounts))
    return [f"--container-image={launch.image}", f"--container-mounts={mounts}", f"--container-workdir={folder}"]
