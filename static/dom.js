// Elements.

export const byId = (id) => document.getElementById(id);

export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// A name has a hue; the style sheet gives it a lightness that can be read.
export function paint(target, name) {
  let hash = 0;
  for (const character of name) hash = (Math.imul(hash, 31) + character.codePointAt(0)) >>> 0;
  target.style.setProperty("--hue", Math.round((hash * 137.508) % 360));
}
