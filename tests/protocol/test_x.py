from pathlib import Path
import time
import pytest
from tests.actors import *
from protocol.problems import Refused
from protocol.statements import read
PLATFORM=Platform(); OFFICER=Officer(PLATFORM); CH=Chains(PLATFORM); CH.admitted(OFFICER)
P2=Officer(PLATFORM,"us-fbi",P256Secret.generate(),country="US")
def test_actors():
    pass
def test_a(tmp_path:Path):
    t=time.perf_counter()
    p=Platform(); print("platform",time.perf_counter()-t)
    o=Officer(p)
    c=Chains(p)
    print(c.admitted(o).state)
    case=c.opened(o)
    c.take(p.desk.acceptance(case)); case=c.case(case.id)
    c.take(p.desk.decision(case,Outcome.DISCLOSED)); 
    c.note(case.id,Stage.RETRIEVED)
    c.take(o.acknowledgement(c.case(case.id)))
    print(c.case(case.id).state)
    c.take(o.rekey(P256Secret.generate()))
    p.write(tmp_path/"x" if (tmp_path/"x").mkdir() is None else 0)
    print(*sorted(x.relative_to(tmp_path) for x in (tmp_path/"x").rglob("*")),sep="\n")
    print((tmp_path/"x/desk/desk.toml").read_text(),(tmp_path/"x/operators/alice/operator.toml").read_text())
    print(time.perf_counter()-t)
@pytest.mark.parametrize("off",[OFFICER,P2],ids=str)
@pytest.mark.parametrize("b",BENT,ids=lambda b:b.name)
def test_b(b,off):
    if off is P2 and "us-fbi" not in CH.registry: CH.admitted(P2)
    raw=off.request().statement
    bent=b.bend(Mallory(off.secret),raw)
    with pytest.raises(Refused) as f: read(bent,CH.known(off.party),PLATFORM.now)
    assert f.value.code==b.code
