"""What the processes of a `gang` do with the tiny decoder and with benchmarks."""


from pathlib import Path

import sessions
import tiny_decoder

from laptime.config import override
from laptime.events import Progress
from laptime.training.distributed.arrange import arrange
from laptime.training.distributed.checkpoint import Saver, load
from laptime.training.distributed.layout import check
from laptime.training.distributed.pieces import local, norms, whole_norm, whole_size
from laptime.training.loop import Supervised


def decoder_losses(world, overrides, steps):
    """Global losses of some steps, and the evaluation after them."""
    config = override(tiny_decoder.Config(), overrides)
    check(config.parallel, tiny_decoder.layout(config), world.size)
    session = tiny_decoder.session(config, world := arrange(world, config.parallel))
    found = [float(world.replicas.sum(session.step(batch).double()))
             for batch in tiny_decoder.batches(config, world, steps=steps)]
    return [*found, session.evaluation()["loss"]]


def benchmark_losses(world, name, preset, root, steps, overrides):
    """Global losses of the first steps of a benchmark on the data in `root`."""
    parallel = override(sessions.benchmark_of(name).presets[preset](), overrides).parallel
    world = arrange(world, parallel)
    session, _ = sessions.session_of(name, preset, Path(root), overrides, world=world, unlocked=True)
    return sessions.losses(session, world, steps)


def decoder_warm_up(world, overrides):
    """(state changed by the warm-up, entries that differ after restoring, fingerprints equal, entries)."""
    config = override(tiny_decoder.Config(), overrides)
    session = tiny_decoder.session(config, arrange(world, config.parallel))
    before, fingerprint = session.state().copy(), session.state().fingerprint()
    session.warm_up()
    changed = session.state().fingerprint() != fingerprint
    after = session.state()
    after.restore(before)
    return changed, after.difference(before), after.fingerprint() == fingerprint, sorted(after.tensors)


def decoder_weights(world, overrides):
    """Norms of the weights and of the model, sizes of whole parameters, and bytes of those here."""
    config = override(tiny_decoder.Config(), overrides)
    model = tiny_decoder.session(config, arrange(world, config.parallel)).model
    named = dict(model.named_parameters())
    values = [one.detach() for one in named.values()]
    each = norms(list(named.values()), values).tolist()
    return {"norms": dict(zip(named, each, strict=True)),
            "all": float(whole_norm(list(named.values()), values)),
            "elements": sum(map(whole_size, named.values())), "here": sum(local(one).numel() for one in named.values())}



def decoder_resumed(world, overrides, folder, steps, stop):
    """Fingerprints after `steps` steps: without a stop, and stopped after `stop` steps and resumed by a new session."""
    config = override(tiny_decoder.Config(), overrides)
    world = arrange(world, config.parallel)

    def session():
        return tiny_decoder.session(config, world)

    whole = session()
    events = whole.train()
    while whole._position.trained.value < steps:
        next(events)
    first, saver = session(), Saver(world, Path(folder))
    events = first.train()
    while first._position.trained.value < stop:
        next(events)
    path = saver.save(first.state(), stop)
    next(events)  # training goes on while it is written
    saver.finish()
    second = session()
    load(second.state(), path, world)
    events = second.train()
    while second._position.trained.value < steps:
        next(events)
    return whole.state().fingerprint(), second.state().fingerprint(), first.state().fingerprint()


def benchmark_resumed(world, name, preset, root, folder, overrides):
    """Events and fingerprints of a benchmark's last steps: without a stop, and resumed from a checkpoint.

    None for a benchmark with a generator of its own, which starts anew.
    """
    parallel = override(sessions.benchmark_of(name).presets[preset](), overrides).parallel
    world = arrange(world, parallel)

    def session():
        return sessions.session_of(name, preset, Path(root), overrides, world=world, unlocked=True, epochs=1)[0]

    if not isinstance(whole := session(), Supervised):
        return None
    saver, path, told = Saver(world, Path(folder)), None, []
    for event in whole.train():
        told.append(repr(event))
        if path is None and isinstance(event, Progress):
            path, told = saver.save(whole.state(), event.at.step), []
    saver.finish()
    second = session()
    load(second.state(), path, world)
    return told, [repr(event) for event in second.train()], whole.state().fingerprint(), second.state().fingerprint()
