// Small tools for the page's own elements: building them, announcing to screen readers, copying text.
// Text always goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

const kSvg = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(kSvg, tag), attributes, children);

// Writes only what differs, so that a screen reader, a selection or a hover is not disturbed by each refresh.
export function set_text(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// What lies outside an open dialog is silent: it has a live region of its own. Which one is open is asked when the text
// goes in, for a dialog that says "saved" closes at once.
export function announce(text) {
  $('announce').textContent = '';
  requestAnimationFrame(() => {
    const node = document.querySelector('dialog[open] .announce') ?? $('announce');
    node.textContent = text;
  });
}

// The clipboard interface exists only on https and localhost; elsewhere a selection is copied the old way.
export async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Refused by a permission: the selection below may still be allowed.
    }
  }
  const area = el('textarea', { class: 'visually-hidden', readonly: true, tabindex: '-1' });
  const focused = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  let done = false;
  try {
    done = document.execCommand('copy');
  } catch {
    done = false;
  }
  area.remove();
  focused?.focus();
  return done;
}

// A button whose label says for a moment whether the copy worked. Both labels share one cell, so its width is fixed.
export function copy_button(text, { label = 'Copy', name = '' } = {}) {
  const said = el('span', { class: 'said', 'aria-hidden': 'true' }, 'Copied');
  const button = el('button', { type: 'button', class: 'copy', 'aria-label': name || null },
    el('span', { class: 'idle' }, label), said);
  let timer = 0;
  button.addEventListener('click', async () => {
    const done = await copy(text);
    set_text(said, done ? 'Copied' : 'Failed');
    announce(done ? `Copied ${text}` : 'Copying was refused by the browser');
    button.classList.toggle('failed', !done);
    button.classList.add('done');
    clearTimeout(timer);
    timer = setTimeout(() => button.classList.remove('done', 'failed'), 1600);
  });
  return button;
}

// A button for what cannot be taken back: it asks once more, and forgets the question when the focus leaves it.
export function sure_button(label, name, run) {
  const button = el('button', { type: 'button', class: 'quiet-danger' });
  let sure = false;
  const ask = (wanted) => {
    sure = wanted;
    set_text(button, sure ? `Really ${label.toLowerCase()}?` : label);
    button.setAttribute('aria-label', sure ? `Really ${label.toLowerCase()} ${name}?` : `${label} ${name}`);
  };
  ask(false);
  button.addEventListener('blur', () => ask(false));
  button.addEventListener('click', () => {
    if (sure) {
      run();
    } else {
      ask(true);
      announce(`Press again to ${label.toLowerCase()} ${name}`);
    }
  });
  return button;
}
