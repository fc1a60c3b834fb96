#!/usr/bin/env python3
"""Folds what `perf script` prints, and draws it as a flame graph that a browser shows by itself.

usage: perf script … | perf/flame.py [--title TEXT] [--off-cpu TID] [--folded FILE] >graph.svg

A box is a function; as wide as the share of samples (or of waited time) that it and what it calls
have. Hover for names and shares; click to look into one, click the ground to come back.
--off-cpu reads sched_switch events: a stack weighs as long as thread TID was off its core.
--folded also writes one line for each stack: functions from the ground up, and its weight.
"""

import argparse
import html
import re
import sys

HEAD = re.compile(r"^(?P<name>\S.*?)\s+(?P<tid>\d+)(?:/\d+)?\s+(?:\[\d+\]\s+)?(?P<time>\d+\.\d+):\s*(?P<rest>.*)$")
FRAME = re.compile(r"^\s+[0-9a-f]+\s+(?P<symbol>.*?)(?:\s+\((?P<object>[^()]*)\))?$")
SWITCH = re.compile(r"prev_pid=(\d+).*prev_state=(\S+).*next_pid=(\d+)")
SCHEDULER = ("__schedule", "schedule", "preempt_schedule", "preempt_schedule_common")


def tidy(symbol):
    """A function's name without its offset and Rust's hash."""
    symbol = re.sub(r"\+0x[0-9a-f]+$", "", symbol)
    return re.sub(r"::h[0-9a-f]{16}$", "", symbol)


def samples(lines):
    """Yields (thread, seconds, text behind the time, functions from the ground up)."""
    head, frames = None, []
    for line in lines:
        line = line.rstrip("\n")
        found = HEAD.match(line)
        if found:
            if head:
                yield (*head, frames[::-1])
            head = (int(found["tid"]), float(found["time"]), found["rest"])
            frames = []
            continue
        frame = FRAME.match(line)
        if head and frame:
            name = tidy(frame["symbol"])
            frames.append(name if name != "[unknown]" else f"[{(frame['object'] or '?').split('/')[-1]}]")
    if head:
        yield (*head, frames[::-1])


def on_cpu(lines):
    folded = {}
    for _tid, _time, _rest, frames in samples(lines):
        key = ";".join(frames) or "[nothing]"
        folded[key] = folded.get(key, 0) + 1
    return folded


def off_cpu(lines, thread):
    """Microseconds for each stack that the thread went to sleep with."""
    folded, left = {}, None
    for _tid, time, rest, frames in samples(lines):
        switch = SWITCH.search(rest)
        if not switch:
            continue
        before, after = int(switch[1]), int(switch[3])
        if before == thread:
            while frames and frames[-1] in SCHEDULER:
                frames.pop()
            # Who could go on and does not was pushed off its core: that is nobody's wait.
            frames.append("[another ran]" if switch[2].startswith("R") else "[asleep]")
            left = (time, ";".join(frames))
        elif after == thread and left:
            folded[left[1]] = folded.get(left[1], 0) + (time - left[0]) * 1e6
            left = None
    return folded


def tree(folded):
    root = {"weight": 0, "below": {}}
    for stack, weight in folded.items():
        node = root
        node["weight"] += weight
        for name in stack.split(";"):
            node = node["below"].setdefault(name, {"weight": 0, "below": {}})
            node["weight"] += weight
    return root


def boxes(node, depth, left, scale, out):
    for name, below in sorted(node["below"].items()):
        width = below["weight"] * scale
        if width >= 0.3:
            out.append((name, depth, left, width, below["weight"]))
            boxes(below, depth + 1, left, scale, out)
        left += width


SCRIPT = """
const all=[...document.querySelectorAll('g')];
function look(g){const x=+g.dataset.x,w=+g.dataset.w,d=+g.dataset.d;
 for(const o of all){const ox=+o.dataset.x,ow=+o.dataset.w,od=+o.dataset.d;
  const inside=ox>=x-0.01&&ox+ow<=x+w+0.01, under=od<d&&ox<=x+0.01&&ox+ow>=x+w-0.01;
  o.style.display=(inside&&od>=d)||under?'':'none';
  const nx=under?0:(ox-x)*1200/w, nw=under?1200:ow*1200/w;
  const r=o.querySelector('rect'),t=o.querySelector('text');
  r.setAttribute('x',nx);r.setAttribute('width',Math.max(nw-0.5,0.1));t.setAttribute('x',nx+3);
  const n=o.dataset.n,c=Math.floor((nw-6)/6.6);t.textContent=c<3?'':n.length>c?n.slice(0,c-1)+'…':n;}}
for(const g of all)g.onclick=()=>look(g);
look(all[0]);
"""


def draw(root, title, unit):
    total = root["weight"] or 1
    out = [("all", 0, 0.0, 1200.0, root["weight"])]
    boxes(root, 1, 0.0, 1200.0 / total, out)
    height = (max(depth for _, depth, *_ in out) + 3) * 17
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="1200" height="{height}" viewBox="0 0 1200 {height}"'
          ' font-family="monospace" font-size="11"><rect width="100%" height="100%" fill="#fffdf7"/>')
    print(f'<text x="600" y="16" text-anchor="middle" font-size="14">{html.escape(title)}</text>')
    for name, depth, left, width, weight in out:
        kernel = name.endswith("_k") or name.startswith(("__x64_", "do_syscall", "entry_SYSCALL"))
        hue = 200 if kernel else 20 + sum(map(ord, name)) % 35
        top = height - (depth + 1) * 17 - 4
        label = html.escape(name, quote=True)
        told = f"{label}: {weight:.0f} {unit}, {100 * weight / total:.2f} %"
        print(f'<g data-x="{left:.2f}" data-w="{width:.2f}" data-d="{depth}" data-n="{label}"><title>{told}</title>'
              f'<rect x="{left:.2f}" y="{top}" width="{max(width - 0.5, 0.1):.2f}" height="16"'
              f' fill="hsl({hue},75%,68%)"/><text x="{left + 3:.2f}" y="{top + 12}"></text></g>')
    print(f"<script><![CDATA[{SCRIPT}]]></script></svg>")


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--title", default="flame graph")
    words.add_argument("--off-cpu", type=int, metavar="TID")
    words.add_argument("--folded", metavar="FILE")
    told = words.parse_args()
    lines = sys.stdin
    folded = on_cpu(lines) if told.off_cpu is None else off_cpu(lines, told.off_cpu)
    if not folded:
        sys.exit("flame.py: no sample was read")
    if told.folded:
        with open(told.folded, "w", encoding="utf-8") as file:
            for stack, weight in sorted(folded.items(), key=lambda row: -row[1]):
                print(f"{stack} {weight:.0f}", file=file)
    draw(tree(folded), told.title, "samples" if told.off_cpu is None else "us")


main()
