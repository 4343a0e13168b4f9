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
  const message = problem.code === 'blocked' ? `${problem.message} If that is wrong, ask whoever runs this node.` : problem.message;
  if (input && input.hasAttribute('aria-describedby')) {
    show_at(input, message);
    return;
  }
  const banner = form.querySelector('.banner');
  const reference = problem.status >= 500 && problem.request_id ? ` (request ${problem.request_id})` : '';
  banner.textContent = message + reference;
  banner.hidden = false;
}

// A form that checks itself and says what is wrong: submit(form) runs once at a time.
export function prepare_form(form, submit) {
  form.addEventListener('input', (event) => clear_error(event.target));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    clear_errors(form);
    while_busy(form, () => submit(form));
  });
  prepare_reveals(form);
  return form;
}

// The buttons that show what is typed into a password field; a form that is reset hides it again.
function prepare_reveals(form) {
  for (const button of form.querySelectorAll('.reveal')) {
    const input = document.getElementById(button.getAttribute('aria-controls'));
    const show = (plain) => {
      input.type = plain ? 'text' : 'password';
      button.setAttribute('aria-pressed', String(plain));
      set_text(button, plain ? 'Hide' : 'Show');
    };
    button.addEventListener('click', () => show(input.type === 'password'));
    form.addEventListener('reset', () => show(false));
  }
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
