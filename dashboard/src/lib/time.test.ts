import { expect, it } from "vitest";
import { formatAgo, formatDuration, formatElapsed, timestampMs } from "./time";

it.each([
  [-500, "0.0 s"],
  [0, "0.0 s"],
  [440, "0.4 s"],
  [9_949, "9.9 s"],
  [9_950, "10 s"],
  [59_499, "59 s"],
  [59_500, "1 min 00 s"],
  [65_000, "1 min 05 s"],
  [3_599_400, "59 min 59 s"],
  [7_380_000, "2 h 03 min"],
])("%i ms are %s", (ms, text) => expect(formatElapsed(ms)).toBe(text));

it.each([
  [45_000, "45 s"],
  [1_800_000, "30 min"],
  [3_600_000, "1 h"],
  [5_400_000, "1 h 30 min"],
])("a policy of %i ms is %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

it.each([
  [-9_000, "just now"],
  [10_000, "just now"],
  [90_000, "2 min ago"],
  [3 * 3_600_000, "3 h ago"],
  [26 * 3_600_000, "yesterday"],
  [4 * 86_400_000, "4 days ago"],
])("%i ms before now is %s", (ms, text) => expect(formatAgo(1e12 - ms, 1e12)).toBe(text));

it("a timestamp that is absent or zero is no time", () => {
  expect(timestampMs(undefined)).toBeUndefined();
  expect(timestampMs({ $typeName: "google.protobuf.Timestamp", seconds: 0n, nanos: 0 })).toBeUndefined();
  expect(timestampMs({ $typeName: "google.protobuf.Timestamp", seconds: 2n, nanos: 5_000_000 })).toBe(2005);
});
