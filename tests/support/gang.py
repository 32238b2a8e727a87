"""A few processes that live through many tests and run one function after another, all together.

`Gang(size).run("module:function", ...)` calls function(world, ...) in each of them, with JSON values, and returns what
the first answered. As a program: one of the processes.
"""

import json
import os
import subprocess
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 120


class Gang:
    def __init__(self, size):
        self.size, self.members = size, []
        environment = os.environ | {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1",
                                    "PYTHONPATH": str(HERE)}
        port = _free_port()
        for rank in range(size):
            mine = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
            self.members.append(subprocess.Popen([sys.executable, str(HERE / "gang.py")], env=mine, text=True,
                                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def run(self, function, *arguments):
        for member in self.members:
            member.stdin.write(json.dumps([function, arguments]) + "\n")
            member.stdin.flush()
        watch = threading.Timer(SECONDS, self.close)
        watch.start()
        answers = [json.loads(member.stdout.readline() or '{"error": "ended"}') for member in self.members]
        watch.cancel()
        errors = [f"rank {rank}: {answer['error']}" for rank, answer in enumerate(answers) if "error" in answer]
        assert not errors, "\n".join(errors)
        return [answer["value"] for answer in answers]

    def close(self):
        for member in self.members:
            member.kill()
            member.wait()
            member.stdin.close()
            member.stdout.close()


def _free_port():
    import socket

    with socket.create_server(("", 0)) as one:  # at every address, where torch's store listens
        return one.getsockname()[1]


def main():
    import torch

    from laptime.training.distributed.world import join

    torch.set_num_threads(1)
    world = join("cpu", timeout_s=60)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        module, function = name.split(":")
        try:
            answer = {"value": getattr(import_module(module), function)(world, *arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()[-3000:]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
