"""Texts that mean something to somebody who reads them without care, and a run in which every text is one of them."""

import hexviz
from hexviz.events import events as ev
from tests.recording.made_events import T0, Run

RUNS = "window.canary=1"
TEXTS = [
    f"<script>{RUNS}</script>", f"<img src=x onerror={RUNS}>", f"</script><script>{RUNS}</script>",
    f"javascript:{RUNS}",
    f"</style><svg onload={RUNS}>", f"]]></title><svg onload={RUNS}>", f"<!-- <script>{RUNS}//", "<base href=//evil>",
    f'" onmouseover="{RUNS}" x="', f"' autofocus onfocus='{RUNS}", f'<a href="javascript:{RUNS}">x</a>',
    "<link rel=stylesheet href=//evil.example/x.css>", "<iframe srcdoc='<script>parent.canary=1</script>'>",
    "${7*7}", "{{7*7}}", "{0} {title} %s %(x)s", "$x^2$ \\(\\href{javascript:1}{x}\\)", "&lt;b&gt;", "a\u2028b\u2029c",
    "\u202eevil\u2066", "\x1b[2J\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "\x1b]52;c;ZXZpbA==\x07",
    "\x9b31m\x90q\x9c", "bel\x07bs\x08", "cr\rover", "nul\x00", "😀" * 50, "\U000e0041", "", " ", ".", "..",
    "../../etc/passwd",
    "C:\\", "/abs", "%2e%2e", "con", "aux.txt", "x" * 300, "x" * 100_000, "'; drop table runs;--",
    '=HYPERLINK("http://evil")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\ud800", "\udfff\ud800", "__class__",
    "1e400",
    "NaN", "None", "[bold red]x[/]", "\ufeffbom", "a\u0301", "A", "a",
]  # fmt: skip
QUOTES = f"""' x='1' " onmouseover="{RUNS}" y="</title><b>"""
"""Leaves an attribute, however it is quoted."""
SHORT = [text[:400] for text in TEXTS]


def told(texts, *, run_id=None, pipeline=None):
    """A chain of nodes: names, errors, reasons, workers, tools, models and tags are ``texts``."""
    run_id, pipeline = texts[0] if run_id is None else run_id, texts[1] if pipeline is None else pipeline
    shape = tuple(ev.NodeInfo(text, i, tuple(texts[i - 2 : i - 1])) for i, text in enumerate(texts, 1))
    run = Run(run_id, pipeline).tell(ev.PipelineStarted, pipeline, len(texts), len(texts), shape, tuple(texts))
    for i, text in enumerate(texts, 1):
        run.at(2 * i).tell(ev.NodeStarted, text, i, tuple(texts[i - 2 : i - 1]), 1, T0, 0.5, text)
        run.tell(ev.ToolCalled, text, text, {text: text}, f"c{i}")
        run.tell(ev.ToolFailed, text, text, ValueError(text), 1.0, f"c{i}")
        run.tell(ev.LLMPromptSent, text, [text], f"m{i}", text)
        error = ev.RecordedError(text, text, text)
        run.at(2 * i + 1).tell(ev.NodeFailed, text, i, error, 1, 1.0)
        vote = ev.Vote(text, 1, text, text, 1.0, False, text)
        run.tell(ev.ControlDecided, text, 3, text, text, i, 1, text, 1, text, (vote,))
        run.tell(ev.NodeFellBack, text, i, 1, text, text, 1.0, text)
    run.tell(ev.ObserverFailed, *texts[:2]).tell(ev.EventsDropped, *texts[-2:])
    return hexviz.Recording(run.tell(ev.PipelineFailed, pipeline, 99.0, ev.RecordedError(*texts[:3])).events)


def harmless(texts):
    """As many texts that mean nothing to anybody, as long as the others."""
    return [f"{i:_>{max(len(text), 3)}}" for i, text in enumerate(texts)]
