export type Tide = { time: number; height: number; kind: "high" | "low" };

/** Half a lunar day, in milliseconds. */
const PERIOD = 44_714_000;

/** The four tides of a day, counted from the epoch; a cosine is enough for a harbour that is not there. */
export function tides(day: number): Tide[] {
  const start = day * 86_400_000;
  return [0, 1, 2, 3].map((quarter) => {
    const kind = quarter % 2 === 0 ? "high" : "low";
    const sign = kind === "high" ? 1 : -1;
    return { time: start + (quarter * PERIOD) / 2, height: 2.4 + 1.6 * sign, kind };
  });
}
