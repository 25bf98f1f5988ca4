"""Agreement with R: every case of the folder whose quantity this version answers.

``pytest tests/reference --reference DIR`` runs the same on another folder of the same form.
"""

from __future__ import annotations

from .adapter import answers
from .adapter.compare import compare


def test_agrees_with_r(case, account):
    answer = answers(case)(case)
    found = compare(case.values, answer, case.raw["tolerance"])
    account.cases[case.quantity] += 1
    account.compared[case.quantity] += len(found.compared)
    for kind in ("waiting", "apart"):
        account.fields[case.quantity][kind].update(getattr(found, kind))
    assert not found.failures, "\n".join([case.id, *found.failures])
    assert found.compared, f"{case.id}: nothing was compared"
