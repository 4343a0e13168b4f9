// A form whose errors appear where they belong: at the field that the problem names, else above the form.

import { set_text } from './dom.js';

function error_of(input) {
  return document.getElementById(input.getAttribute('aria-describedby'));
}

export function clear_errors(form) {
  for (const input of form.elements) {
    if (!input.hasAttribute('aria-describedby')) continue;
    input.removeAttribute('aria-invalid');
    set_text(error_of(input), '');
  }
  form.querySelector('.banner').hidden = true;
}

export function clear_error(input) {
  if (!input.hasAttribute('aria-invalid')) return;
  input.removeAttribute('aria-invalid');
  set_text(error_of(input), '');
}

export function show_at(input, text) {
  input.setAttribute('aria-invalid', 'true');
  set_text(error_of(input), text);
  const hidden = input.closest('details:not([open])');
  if (hidden) hidden.open = true;
  input.focus();
}

export function show_problem(form, problem) {
  const input = problem.field ? form.elements.namedItem(problem.field) : null;
  if (input && input.hasAttribute('aria-describedby')) {
    show_at(input, problem.message);
    return;
  }
  const banner = form.querySelector('.banner');
  const reference = problem.status >= 500 && problem.request_id ? ` (request ${problem.request_id})` : '';
  banner.textContent = problem.message + reference;
  banner.hidden = false;
}

// Holds the submit button while the work runs, without taking the focus away from it.
export async function while_busy(form, work) {
  if (form.getAttribute('aria-busy') === 'true') return;
  form.setAttribute('aria-busy', 'true');
  try {
    await work();
  } finally {
    form.removeAttribute('aria-busy');
  }
}

// "example.com/page" is what people paste: it means https.
export function with_scheme(text) {
  const url = text.trim();
  return /^[\w-]+(\.[\w-]+)+(:\d+)?([/?#]\S*)?$/.test(url) ? `https://${url}` : url;
}
