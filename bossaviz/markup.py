"""Fragments of HTML that a panel shows: pure text in, escaped markup out. Used on the screen and in saved pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def tag(kind: str) -> str:
    """Return the badge that says where numbers come from: real, simulated or theory."""
    words = {"real": "real", "sim": "simulated", "theory": "theory"}
    return f'<span class="bv-tag bv-tag-{kind}">{words[kind]}</span>'


def question(text: str) -> str:
    """Return the question of the panel as its heading."""
    return f'<h2 class="bv-question">{escape(text)}</h2>'


def facts(
    formula: str, n: int, n_total: int, units: str, unit_name: str, groups: Sequence[tuple[int, str]] = ()
) -> str:
    """Return the model's formula and how many rows, and groups of them, it rests on."""
    of = f" of {n_total:,}" if n_total > n else ""
    return (
        f'<code class="bv-formula">{escape(formula)}</code>'
        f"<span>n = <b>{n:,}</b>{of} {escape(units if n != 1 else unit_name)}"
        f"{''.join(f', <b>{k:,}</b> {escape(what)}' for k, what in groups)}</span>"
    )


def group_title(number: int, title: str, aside: str = "") -> str:
    """Return the heading of one group of controls."""
    small = f"<small>{escape(aside)}</small>" if aside else ""
    return f'<h3 class="bv-grp-title"><span class="bv-num">{number}</span>{escape(title)}{small}</h3>'


def label(text: str) -> str:
    """Return the small label above a control."""
    return f'<span class="bv-lab">{escape(text)}</span>'


def chips(items: Iterable[tuple[str, str]]) -> str:
    """Return a row of chips that cannot be changed here: (word, why not), an empty reason marks the chosen one."""
    out = []
    for word, reason in items:
        if reason:
            out.append(
                f'<button type="button" class="bv-chip bv-no" aria-disabled="true" title="{escape(reason)}" '
                f'aria-label="{escape(word)}: {escape(reason)}">{escape(word)}</button>'
            )
        else:
            out.append(f'<button type="button" class="bv-chip bv-on" aria-pressed="true">{escape(word)}</button>')
    return f'<div class="bv-chips">{"".join(out)}</div>'


def pane_title(title: str, kind: str, sub: str = "") -> str:
    """Return the heading of a pane: what it shows, where it came from, a few words more."""
    aside = f'<span class="bv-sub">{escape(sub)}</span>' if sub else ""
    return f'<h3 class="bv-pane-title"><span>{escape(title)}</span>{tag(kind)}{aside}</h3>'


def progress(done: int, goal: int, first: int = 0) -> str:
    """Return the bar and the count of a run from ``first`` to ``goal``."""
    share = 100.0 * min(1.0, (done - first) / (goal - first)) if goal > first else 0.0
    return (
        f'<div class="bv-prog" role="progressbar" aria-label="draws made" aria-valuemin="{first}" '
        f'aria-valuemax="{goal}" aria-valuenow="{done}"><i style="width:{share:.1f}%"></i></div>'
    )


def counted(done: int, goal: int, mcse: str) -> str:
    """Return how many draws there are, and how far chance in them may move the limits."""
    of = f" of {goal:,}" if goal > done else " draws" if done != 1 else " draw"
    error = f"Monte-Carlo error of the limits <b>± {mcse}</b>" if mcse else "Monte-Carlo error of the limits <b>–</b>"
    return f'<p class="bv-hint"><b>{done:,}</b>{of}</p><p class="bv-hint">{error}</p>'


def sentence(runs: Sequence[tuple[str, str]], more: Sequence[str] = (), tone: str = "info") -> str:
    """Return the sentence, its numbers in the colour of their origin; ``more`` is shown below it where given."""
    main = "".join(
        escape(text) if role == "plain" else f'<b class="bv-{role}">{escape(text)}</b>' for text, role in runs
    )
    rest = "".join(f"<p>{escape(line)}</p>" for line in more)
    rest = f'<div class="bv-more-words">{rest}</div>' if rest else ""
    return f'<div class="bv-say bv-tone-{tone}"><p>{main}</p>{rest}</div>'


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    chosen: int | None = None,
    caption: str = "",
    empty: str = "",
    above: tuple[int, str] | None = None,
) -> str:
    """Return a table: first column to the left, numbers to the right; ``chosen`` is the row on a wash.

    ``above`` puts a line of words before the row of that number.
    """
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = []
    for i, row in enumerate(rows):
        if above is not None and above[0] == i:
            words = f'<th scope="rowgroup" colspan="{len(head)}">{escape(above[1])}</th>'
            body.append(f'<tr class="bv-between">{words}</tr>')
        mark = ' class="bv-on" aria-current="true"' if i == chosen else ""
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        body.append(f'<tr{mark}><th scope="row">{escape(row[0])}</th>{cells}</tr>')
    if not rows and empty:
        body.append(f'<tr class="bv-empty"><td colspan="{len(head)}">{escape(empty)}</td></tr>')
    hidden = f'<caption class="bv-hidden">{escape(caption)}</caption>' if caption else ""
    return f'<table class="bv-table">{hidden}<thead><tr>{top}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def status(state: str, words: str, *, facts: Sequence[tuple[str, str, str]] = (), notes: Sequence[str] = (),
           error: tuple[str, str] | None = None) -> str:  # fmt: skip
    """Return the status line: the state of the run, its two errors apart, notes; or what is wrong and what to do.

    ``facts`` are (words, number, where from); ``state`` is "idle" or "running".
    """
    if error is not None:
        wrong, remedy = error
        body = f'<span role="alert"><b>{escape(wrong)}</b> {escape(remedy)}</span>'
        return f'<div class="bv-status bv-error">{body}</div>'
    head, _, rest = words.partition("|")
    parts = [f'<span><i class="bv-dot bv-dot-{state}"></i><b>{escape(head)}</b> {escape(rest)}</span>']
    parts += [f"<span>{escape(what)} <b>{escape(value)}</b>, {escape(origin)}</span>" for what, value, origin in facts]
    parts += [f'<span class="bv-note">{escape(note)}</span>' for note in notes]
    return f'<div class="bv-status">{"".join(parts)}</div>'


def code_block(text: str, words: str) -> str:
    """Return code to read and copy, under a line that says what it is."""
    code = f'<pre class="bv-code" tabindex="0">{escape(text)}</pre>'
    return f'<div class="bv-drawer"><p class="bv-hint">{escape(words)}</p>{code}</div>'


def downloads(files: Sequence[tuple[str, str, str]]) -> str:
    """Return links that save files without a server: (name, words, data address)."""
    links = "".join(
        f'<a class="bv-ghost bv-framed" download="{escape(name)}" href="{escape(address)}">{escape(words)}</a>'
        for name, words, address in files
    )
    words = '<p class="bv-hint">Save to this computer</p>'
    return f'<div class="bv-drawer">{words}<div class="bv-links">{links}</div></div>'
