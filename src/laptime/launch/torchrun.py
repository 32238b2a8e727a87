"""torchrun, and plain commands, one for each node: for machines without a scheduler.

torchrun starts one `laptime run` per process and tells each by its variables who it is (harness.place).
"""

from laptime.launch import shell
from laptime.launch.container import wrapped
from laptime.launch.request import Launch, node_words, rank_words


def torchrun_words(launch: Launch, node: int) -> list[str]:
    """The torchrun command of one node."""
    request = launch.request
    host, _, port = launch.meeting.rpartition(":")
    where = ["--standalone"] if request.nodes == 1 else [
        f"--nnodes={request.nodes}", f"--node-rank={node}", f"--master-addr={host}", f"--master-port={port}",
        *([f"--local-addr={launch.hosts[node]}"] if launch.hosts else [])]
    words = ["torchrun", *where, f"--nproc-per-node={request.nproc}", "--max-restarts=0", "-m", *rank_words(request)]
    return _with_environment(launch, wrapped(launch, words, folder=launch.folder))


def plain_words(launch: Launch, node: int) -> list[str]:
    """`laptime run` for one node, to be started by whatever starts programs there."""
    words = wrapped(launch, node_words(launch, launch.meeting), folder=launch.folder)
    return _with_environment(launch, [*words, f"--node-rank={node}"] if launch.request.nodes > 1 else words)


def script(launch: Launch, commands: list[list[str]]) -> str:
    """The commands of all nodes as text, each under a line that says where it belongs."""
    places = [f": {launch.hosts[node]}" if launch.hosts else "" for node in range(len(commands))]
    return "\n".join(f"# node {node}{places[node]}\n{shell.command(words)}\n" for node, words in enumerate(commands))


def _with_environment(launch: Launch, words: list[str]) -> list[str]:
    return ["env", *launch.environment, *words] if launch.environment else words
