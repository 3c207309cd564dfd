// The colours and words of statuses and signals; the same, in the same order, as in hexviz/palette.py.

export const STATUSES = ["pending", "running", "retrying", "succeeded", "failed", "skipped", "fell_back", "cancelled"];
export const [PENDING, RUNNING, RETRYING, SUCCEEDED, FAILED, CANCELLED] = [0, 1, 2, 3, 4, 7];
export const STATUS_COLORS = ["#c9ced6", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#999999", "#cc79a7", "#56b4e9"];
/** For high contrast: further apart in lightness, so that they can be told without their hue. */
export const STRONG_COLORS = ["#d9d9d9", "#0050ff", "#ffd000", "#00a870", "#ff3b00", "#8a8a8a", "#e83fae", "#7ad7ff"];
export const SIGNAL_COLORS = {
  proceed: "#009e73", retry: "#e69f00", skip: "#999999", fallback: "#cc79a7", fail: "#d55e00", error: "#882255",
};
/** The word of each code in the table of marks. */
export const SIGNALS = Object.keys(SIGNAL_COLORS);
export const ACCENT = "#c8408f";
export const ACCENT_ON_DARK = "#e377b0";
export const DARK_INK = "#0d1117";
/** Of several in one pixel the one with the highest number is seen. */
export const WORST = [0, 1, 5, 2, 7, 3, 4, 6];
export const PROGRESS_ORDER = [3, 6, 5, 7, 4, 2, 1];

export function statusWord(status) {
  return STATUSES[status].replace("_", " ");
}

/** Red, green and blue of `#rrggbb`. */
export function rgbOf(color) {
  const number = parseInt(color.slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}
