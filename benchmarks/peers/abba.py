"""A B B A: ours, a peer, the peer, ours, round after round in one run, so that what disturbs one disturbs both."""

import os
import random
import statistics
import sys


def interval(quotients):
    """Of the median, where 95 of 100 samples drawn from these with replacement have theirs."""
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(quotients, k=len(quotients))) for _ in range(4000))
    return medians[100], medians[-101]


def pair(ours, theirs, rounds):
    """ours() and theirs() measure: numbers by test. By test, of each round, the means of ours and of theirs."""
    means = {}
    for number in range(rounds):
        turns = [ours(), theirs(), theirs(), ours()]
        for test in turns[0]:
            if test in turns[1]:
                a, b = turns[0][test] + turns[3][test], turns[1][test] + turns[2][test]
                means.setdefault(test, []).append((a / 2, b / 2))
        print(f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return means


def print_table(title, names, unit, means, shares, lower_is_better=False):
    """The medians, and the median of the rounds' quotients: how many times as fast we are."""
    ours, peer = names
    print(title)
    print(f"| test | {ours} {unit} | share of limit | {peer} {unit} | ratio | 95 % | range |")
    print("| --- | --: | --: | --: | --: | --- | --- |")
    for test, rounds in means.items():
        a, b = (statistics.median(each[i] for each in rounds) for i in (0, 1))
        quotients = [y / x if lower_is_better else x / y for x, y in rounds]
        low, high = interval(quotients)
        digits = 3 if lower_is_better else 2
        print(
            f"| {test} | {a:.{digits}f} | {statistics.median(shares[test]):.2f} | {b:.{digits}f} "
            f"| {statistics.median(quotients):.3f} | {low:.3f} to {high:.3f} "
            f"| {min(quotients):.3f} to {max(quotients):.3f} |"
        )
    sys.stdout.flush()
