// Finding and making elements.

export const byId = (id) => document.getElementById(id);

export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Writes a text where it is another one than before. What stands there may be a translation of that.
export function write(place, text) {
  if (place.written !== text) place.textContent = place.written = text;
}
