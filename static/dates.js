const format = (options) => new Intl.DateTimeFormat(undefined, options);
export const clock = format({ timeStyle: "short" });
export const fullDate = format({ dateStyle: "full", timeStyle: "medium" });
const longDay = format({ dateStyle: "full" });

export function dayName(date) {
  const day = new Date();
  for (const name of ["Today", "Yesterday"]) {
    if (date.toDateString() === day.toDateString()) return name;
    day.setDate(day.getDate() - 1);
  }
  return longDay.format(date);
}
