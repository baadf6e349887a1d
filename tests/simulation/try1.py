from tests.simulation import clocks
clocks.install()
import sys, time
from tests.simulation import home, parts
from tests.simulation.world import World
CHAIN = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: chain, path: tests/chain}
workflow:
  - step: start
    tool: {kind: python, code: "result = 1"}
    next: {arcs: [{step: second}]}
  - step: second
    tool: {kind: python, code: "result = 1"}
    next: {arcs: [{step: third}]}
  - step: third
    tool: {kind: python, code: "result = 1"}
"""

def one(server, seed, kept):
    t=time.monotonic()
    w = World(server, seed)
    ok = w.begin()
    t1=time.monotonic()
    got=[]
    w.in_edge(lambda: w.edge.register(CHAIN), got.append)
    w.universe.run(60, lambda: bool(got))
    if not got:
        for l in w.universe.trace[-30:]: print(l)
    cid, path = got[0]
    res=[]
    def st():
        async def go(): return await w.edge.start(w.edge.gateway.ids.next(), cid, path, None)
        return go()
    w.in_edge(st, res.append)
    w.universe.run(w.universe.now+10, lambda: len(w.ended)>=3)
    t2=time.monotonic()
    f=w.fingerprint()
    print(seed, ok, res, round(w.universe.now,3), len(w.ended), w.universe.steps, server.statements, f)
    w.close()
    t3=time.monotonic()
    server.now(server.empty())
    t4=time.monotonic()
    print(*(round(x,3) for x in (t1-t,t2-t1,t3-t2,t4-t3)))
    return f
with home.opened() as server:
    parts.install(server)
    kept={"noetl.schema_migrations","noetl.shard_identity"}
    import cProfile,pstats
    for s in (1,2,3,4,5,1,2,3): one(server,s,kept)
    if len(sys.argv)>1:
        pr=cProfile.Profile(); pr.enable()
        for s in (6,7,8,9,10): one(server,s,kept)
        pr.disable(); pstats.Stats(pr).sort_stats("tottime").print_stats(35)
