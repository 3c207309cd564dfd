// Times, names and axes as people read them.

export function formatMs(ms) {
  if (!(ms >= 0)) return "-";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  const seconds = Math.floor(ms / 1000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h} h ${String(m).padStart(2, "0")} min` : `${m} min ${String(s).padStart(2, "0")} s`;
}

/** A moment of a run, short enough for a list: 412 ms, 59.8 s, 3:07.2, 2:05:11. */
export function formatAt(ms) {
  if (!(ms >= 60000)) return formatMs(ms);
  const tenths = Math.floor(ms / 100);
  const [h, m, s] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60, (tenths % 600) / 10];
  return h ? `${h}:${String(m).padStart(2, "0")}:${String(Math.floor(s)).padStart(2, "0")}` : `${m}:${s.toFixed(1).padStart(4, "0")}`;
}

/** 1234567 as 1,234,567. */
export function formatCount(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** The ends of a long name tell more than its middle. */
export function shortened(name, most = 40) {
  return name.length <= most ? name : `${name.slice(0, most / 2)}…${name.slice(1 - most / 2)}`;
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 864e5];

/** Round places on the axis between two times, in one unit, at least `gap` pixels apart. */
export function ticks(from, to, width, gap = 80) {
  const span = Math.max(to - from, 1e-6);
  const wanted = (span * gap) / Math.max(width, 1);
  const fine = wanted < 1 ? 10 ** Math.ceil(Math.log10(wanted)) : 0;
  const step = fine || (STEPS.find((s) => s >= wanted) ?? 864e5 * Math.ceil(wanted / 864e5));
  const [unit, size] = to < 1000 ? ["ms", 1] : to < 120000 ? ["s", 1000] : to < 7200000 ? ["min", 60000] : ["h", 3600000];
  const found = [];
  for (let k = Math.ceil(from / step - 1e-9); k * step <= to + 1e-9; k += 1) {
    found.push({ at: k * step, label: `${Number(((k * step) / size).toFixed(6))} ${unit}` });
  }
  return found;
}

/** Where the axis ends while the run goes on: in steps, so that the picture stands still between them. */
export function axisEnd(now) {
  const floor = Math.max(now * 1.02, 1000);
  const size = 10 ** Math.floor(Math.log10(floor));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((k) => k * size).find((end) => end >= floor);
}

/** What is left, by the pace so far; -1 while too little is known to say. */
export function restMs(ended, total, elapsedMs) {
  if (ended >= total || elapsedMs < 1000 || ended < 3 || ended < total * 0.03) return -1;
  return (elapsedMs * (total - ended)) / ended;
}

/** An estimate is told roughly: one or two figures are all that it is worth. */
export function roughly(ms) {
  const seconds = ms / 1000;
  if (seconds < 1) return "less than 1 s";
  if (seconds < 10) return `about ${Math.round(seconds)} s`;
  if (seconds < 60) return `about ${Math.round(seconds / 5) * 5} s`;
  return "about " + formatMs(Math.round(seconds / (seconds < 600 ? 10 : 60)) * (seconds < 600 ? 10000 : 60000)).replace(" 00 s", "");
}
