"""Algorithms on graphs of numbered nodes, given as the list of targets of each node.

Sets of nodes are the bits of an integer, so that a thousand nodes cost a thousand small operations.
Nothing recurses: graphs may be as deep as they are large.
"""

import heapq
from collections.abc import Iterator

Targets = list[list[int]]


def components(after: Targets) -> list[list[int]]:
    """Return the strongly connected parts, each after every part that it leads to (Tarjan)."""
    unseen, done = -1, len(after) + 1
    low = [unseen] * len(after)
    parts: list[list[int]] = []
    path: list[int] = []
    for root in range(len(after)):
        if low[root] != unseen:
            continue
        entered = {root: len(path)}
        work = [(root, iter(after[root]))]
        low[root] = len(path)
        path.append(root)
        while work:
            place, targets = work[-1]
            for target in targets:
                if low[target] == unseen:
                    entered[target] = low[target] = len(path)
                    path.append(target)
                    work.append((target, iter(after[target])))
                    break
                low[place] = min(low[place], low[target])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[place])
                if low[place] == entered[place]:
                    part = path[entered[place] :]
                    del path[entered[place] :]
                    parts.append(sorted(part))
                    for member in part:
                        low[member] = done
    return parts


def downstream(after: Targets, components: list[list[int]]) -> list[int]:
    """Return for each node the bits of all nodes that it leads to."""
    bits = [0] * len(after)
    for part in components:
        reached = sum(1 << place for place in part) if len(part) > 1 else 0
        for place in part:
            for target in after[place]:
                reached |= 1 << target | bits[target]
        for place in part:
            bits[place] = reached
    return bits


def upstream(after: Targets, components: list[list[int]]) -> list[int]:
    """Return for each node the bits of all nodes that lead to it."""
    before: Targets = [[] for _ in after]
    for place, targets in enumerate(after):
        for target in targets:
            before[target].append(place)
    return downstream(before, components[::-1])


def ordered(after: Targets) -> list[int]:
    """Return the nodes in topological order; what lies on or behind a cycle comes last."""
    waiting = [0] * len(after)
    for targets in after:
        for target in targets:
            waiting[target] += 1
    ready = [place for place, count in enumerate(waiting) if not count]
    ordered: list[int] = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(place)
        for target in after[place]:
            waiting[target] -= 1
            if not waiting[target]:
                heapq.heappush(ready, target)
    return [*ordered, *(place for place, count in enumerate(waiting) if count)]


def cycle(part: list[int], after: Targets) -> list[int]:
    """Return a shortest way round from the first node of a strongly connected part."""
    start, inside = part[0], set(part)
    came_from: dict[int, int] = {}
    layer = [start]
    while start not in came_from:
        following: list[int] = []
        for place in layer:
            for target in after[place]:
                if target in inside and target not in came_from:
                    came_from[target] = place
                    following.append(target)
        layer = following
    way = [start]
    while (place := came_from[way[-1]]) != start:
        way.append(place)
    return [start, *reversed(way[1:])]


def members(bits: int) -> Iterator[int]:
    """Yield the nodes whose bits are set, in order."""
    for place, bit in enumerate(reversed(f"{bits:b}")):
        if bit == "1":
            yield place
