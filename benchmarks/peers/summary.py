"""Summaries: means and minima over the cases, and which case misses its target."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

NOISE = 0.97  # a ratio from here on isn't behind
HIGH_ENOUGH = 0.90  # of the roofline, or where the wanted ratio is beyond the machine, of the attainable
HIGH_ENOUGH_ALONE = 0.80  # of the roofline, of one row
NEAR_THE_TOP = 0.77  # of the roofline: beside a peer above, HIGH_ENOUGH of it is wanted instead of a ratio


def wanted(mode: str, num_threads: int) -> float:
    """Return the target for how many times as fast as the best peer clstm is."""
    return 1.5 if num_threads > 1 else {"inference": 1.3, "stream": 1.3}.get(mode, 1.25)


def met(result: dict[str, Any]) -> str:
    """Return which target a case meets: "ratio", else "roofline", else "attainable", else "".

    The last counts only where the ratio is beyond the machine: clstm wouldn't reach it if it attained everything.
    """
    ratio, least = result["ratio"], wanted(result["mode"], result["threads"])
    if ratio >= least:
        return "ratio"
    if near_the_roofline(result):
        return "roofline"
    attained = result.get("attained") or 0
    return "attainable" if attained >= HIGH_ENOUGH and ratio / attained < least else ""


def near_the_roofline(result: dict[str, Any]) -> bool:
    """Return whether clstm reaches its target fraction of the roofline."""
    alone = result["case"].get("batch") == 1
    return bool(result["shares"].get("clstm", 0) >= (HIGH_ENOUGH_ALONE if alone else HIGH_ENOUGH))


def highest_peer(result: dict[str, Any]) -> tuple[str | None, float | None]:
    """Return the peer that reaches the largest fraction of the roofline, and that fraction; None if unknown."""
    shares = {name: share for name, share in result["shares"].items() if name != "clstm"}
    return max(shares.items(), key=lambda found: found[1], default=(None, None))


def is_contested(result: dict[str, Any]) -> bool:
    """Return whether a peer is near the roofline's top."""
    return (highest_peer(result)[1] or 0) > NEAR_THE_TOP


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a summary of the cases for each mode, dtype and number of threads.

    Returns
    -------
    list of dict
        "mode", "dtype", "threads"; "cases", how many have a peer, and "label" of each list below; "geometric_mean" and
        "least" of the ratios to the best peer; "bound": the geometric mean if clstm attained all that is attainable,
        where that is known; "open": means over the cases in which no peer is near the roofline's top, and "contested"
        and "contested_reached": how many others there are, and in how many clstm is near the roofline; "behind": the
        cases with a ratio below NOISE, with the peer and ratio; "targets": how many cases meet which target (see `met`,
        "" for none), and "slower": those that aren't as much faster as wanted, with the shares of the best peer and of
        clstm; "peers": the geometric mean, the least ratio and the number of cases of each peer.
    """
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["mode"], result["case"]["dtype"], result["threads"]), []).append(result)
    return [
        {"mode": mode, "dtype": dtype, "threads": num_threads, **of_group(group)}
        for (mode, dtype, num_threads), group in groups.items()
    ]


def of_group(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    compared = [result for result in group if result["best"] is not None]
    peers: dict[str, list[float]] = {}
    for result in compared:
        for name, found in result["ratios"].items():
            peers.setdefault(name, []).append(found["median"])
    contested = [result for result in compared if is_contested(result)]
    slower = []
    for result in compared:
        if met(result) == "ratio":
            continue
        peer, share = highest_peer(result)
        slower.append({
            "label": result["case"]["label"], "ratio": result["ratio"], "met": met(result), "peer": peer,
            "share": share, "clstm": result["shares"].get("clstm"), "attained": result.get("attained"),
        })  # fmt: skip
    return {
        **means(result["ratio"] for result in compared),
        "bound": means(result["ratio"] / min(1, result.get("attained") or 1) for result in compared)["geometric_mean"],
        "open": means(result["ratio"] for result in compared if not is_contested(result)),
        "contested": len(contested),
        "contested_reached": sum(map(near_the_roofline, contested)),
        "behind": [
            {"label": result["case"]["label"], "peer": result["best"], "ratio": result["ratio"]}
            for result in sorted(compared, key=lambda result: result["ratio"])
            if result["ratio"] < NOISE
        ],
        "targets": dict(Counter(map(met, compared))),
        "slower": slower,
        "peers": {name: means(ratios) for name, ratios in peers.items()},
    }


def means(ratios: Iterable[float]) -> dict[str, Any]:
    ratios = list(ratios)
    return {
        "cases": len(ratios),
        "geometric_mean": statistics.geometric_mean(ratios) if ratios else None,
        "least": min(ratios, default=None),
    }


def lines(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """Return it as Markdown, a list of a few lines for each mode, dtype and number of threads."""
    out = []
    for group in summaries:
        threads = f"{group['threads']} thread{'s' * (group['threads'] > 1)}"
        title = f"- **{group['mode']}, {group['dtype']}, {threads}**"
        if not group["cases"]:
            out.append(f"{title}: no peer")
            continue
        out.append(
            f"{title}: {group['geometric_mean']:.2f} times the best peer's speed (geometric mean, cases: "
            f"{group['cases']}), at least {group['least']:.2f}; behind (below {NOISE}) in {len(group['behind'])}"
        )
        peers = "; ".join(
            f"{name} {found['geometric_mean']:.2f}, least {found['least']:.2f}, cases {found['cases']}"
            for name, found in group["peers"].items()
        )
        out.append(f"  - by peer: {peers}")
        for case in group["behind"]:
            out.append(f"  - behind: {case['label']}: {case['ratio']:.2f} to {case['peer']}")
        targets = group["targets"]
        out.append(
            f"  - targets: {wanted(group['mode'], group['threads'])} times the best peer in {targets.get('ratio', 0)} "
            f"cases; else {HIGH_ENOUGH:.0%} of the roofline (one row: {HIGH_ENOUGH_ALONE:.0%}) in "
            f"{targets.get('roofline', 0)}; else, that ratio beyond the machine, {HIGH_ENOUGH:.0%} of the attainable "
            f"in {targets.get('attainable', 0)}; none in {targets.get('', 0)}"
        )
        free = group["open"]
        of_free = f"{free['geometric_mean']:.2f} in the {free['cases']}" if free["cases"] else "none of the"
        out.append(
            f"  - {group['bound']:.2f} if it attained all that is attainable; {of_free} cases in which no peer is "
            f"above {NEAR_THE_TOP:.0%} of the roofline; near it in {group['contested_reached']} of the other "
            f"{group['contested']}"
        )
        for case in group["slower"]:
            text = f"  - {case['label']}: {case['ratio']:.2f}"
            if case["peer"] is not None:
                text += f", {case['peer']} at {case['share']:.0%} of the roofline, clstm at {case['clstm']:.0%}"
            if case["attained"]:
                text += f", {case['attained']:.0%} of the attainable"
            out.append(f"{text}: {case['met'] or 'no target'}")
    return out
