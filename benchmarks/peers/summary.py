"""What it comes to: means and leasts over the cases, and which case misses what is wanted."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

NOISE = 0.97  # a ratio from here on isn't behind
HIGH_PEER, HIGH_ENOUGH = 0.77, 0.90  # of the roofline: where a peer is above the first, the second is wanted of clstm


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each mode, dtype and number of threads what the cases come to.

    Returns
    -------
    list of dict
        "mode", "dtype", "threads"; "cases", how many have a peer, and "label" of each list below; "geometric_mean" and
        "least" of the ratios to the best peer; "behind": the cases with a ratio below NOISE, with the peer and ratio;
        "near_roofline": those with a peer above HIGH_PEER of the roofline, with its share and clstm's; "peers": the
        geometric mean, the least ratio and the number of cases of each peer.
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
    near = []
    for result in compared:
        shares = {name: share for name, share in result["shares"].items() if name != "clstm"}
        peer = max(shares, key=shares.__getitem__, default=None)
        if peer is not None and shares[peer] > HIGH_PEER:
            ours = result["shares"]["clstm"]
            near.append(
                {"label": result["case"]["label"], "peer": peer, "share": shares[peer], "clstm": ours}
            )  # fmt: skip
    return {
        **means(result["ratio"] for result in compared),
        "behind": [
            {"label": result["case"]["label"], "peer": result["best"], "ratio": result["ratio"]}
            for result in sorted(compared, key=lambda result: result["ratio"])
            if result["ratio"] < NOISE
        ],
        "near_roofline": near,
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
        for case in group["near_roofline"]:
            reached = "reached" if case["clstm"] >= HIGH_ENOUGH else "not reached"
            out.append(
                f"  - {case['label']}: {case['peer']} at {case['share']:.0%} of the roofline, clstm at "
                f"{case['clstm']:.0%} ({HIGH_ENOUGH:.0%} {reached})"
            )
    return out
