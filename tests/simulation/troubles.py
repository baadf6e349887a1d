"""Brings the troubles of a plan about."""

from tests.simulation.plan import Trouble
from tests.simulation.world import World


OPERATOR_SECONDS = 15.0


def _restarted(world: World) -> None:
    broker = world.broker
    if broker.is_up and any(stream.has_failed for stream in broker.streams.values()):
        world.universe.note("the operator restarts the broker")
        broker.kill(keeps=True)
        world.universe.after(0.5, broker.start)


def bring(world: World, trouble: Trouble) -> None:
    """Let a trouble begin now, and end when it should."""
    universe, broker, database = world.universe, world.broker, world.database
    universe.note(f"trouble: {trouble.kind} {trouble.where} {trouble.seconds:.3f} s")
    now, until = universe.now, universe.now + trouble.seconds
    process = world.alive.get(trouble.where)
    match trouble.kind:
        case "kill":
            if process is not None and process.is_alive:
                world.kill(trouble.where, back_after=trouble.seconds)
        case "freeze":
            if process is not None:
                process.frozen_until = max(process.frozen_until, until)
        case "hole":
            world.network.holes[trouble.where] = until
        case "cut":
            world.network.cut(trouble.where)
        case "cut off from the database":
            database.holes[trouble.where] = until
        case "restart" if trouble.where == "broker":
            if broker.is_up:
                broker.kill(keeps=True, loses_messages=trouble.amount > 1.0)
                universe.after(trouble.seconds, broker.start)
        case "restart":
            database.kill()
            database.is_up = False
            universe.after(trouble.seconds, lambda: setattr(database, "is_up", True))
        case "wipe":
            if broker.is_up:
                broker.kill(keeps=False)
                universe.after(trouble.seconds, broker.start)
        case "slow":
            usual, database.latency = database.latency, (0.001, trouble.amount)
            universe.after(trouble.seconds, lambda: setattr(database, "latency", usual))
        case "full" if trouble.where == "broker":
            broker.is_full = True
            universe.after(trouble.seconds, lambda: setattr(broker, "is_full", False))
            # Its streams have failed for good: readiness says so, and the operator restarts it.
            universe.after(trouble.seconds + OPERATOR_SECONDS, lambda: _restarted(world))
        case "full":
            database.is_full = True
            universe.after(trouble.seconds, lambda: setattr(database, "is_full", False))
        case "lose" | "double":
            name = "loss" if trouble.kind == "lose" else "doubling"
            setattr(broker, name, trouble.amount)
            universe.after(trouble.seconds, lambda: setattr(broker, name, 0.0))
        case "clock":
            if process is not None:
                world.offsets[trouble.where] = trouble.amount
                process.wall_offset = trouble.amount
        case _:
            raise ValueError(f"an unknown trouble: {trouble.kind}")
    del now


def foretell(world: World, trouble: Trouble, at: float) -> None:
    """Let a trouble come at a moment; what a broker has written by then is noted before."""
    if trouble.kind == "restart" and trouble.where == "broker":
        unwritten = min(trouble.amount % 1.0, trouble.at)
        world.universe.at(max(world.universe.now, at - unwritten), world.broker.remember)
    world.universe.at(at, lambda: bring(world, trouble))
