// The API key that this tab uses, asked for when the node, or what stands before it, wants one.

import * as api from './api.js';
import { $, announce, set_text } from './dom.js';
import { clear_error, clear_errors, show_at, show_problem, while_busy } from './fields.js';

function form_of(id, submit) {
  const form = $(id);
  form.addEventListener('input', (event) => clear_error(event.target));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    clear_errors(form);
    while_busy(form, () => submit(form));
  });
  return form;
}

// on_key() when another key is used from now on.
export function start_keys({ on_key }) {
  const bar = $('key-bar');

  function ask(problem) {
    const why = problem.status === 403 ? problem.message : api.key() ? 'The key of this tab opens nothing here, or no more.'
      : 'Enter one to see and make links.';
    set_text($('key-why'), why);
    bar.hidden = false;
  }
  api.when_key_is_wanted(ask);

  form_of('key-form', async (form) => {
    const text = form.elements.key.value.trim();
    if (!/^[\x21-\x7e]+$/.test(text)) {
      show_at(form.elements.key, text ? 'A key has no spaces and no letters outside ASCII.' : 'Enter a key.');
      return;
    }
    const before = api.key();
    api.use_key(text);
    try {
      await api.list_links({ limit: 1 });
    } catch (problem) {
      api.use_key(before);
      if (problem.status === 401) show_at(form.elements.key, 'This node does not know this key.');
      else show_problem(form, problem);
      return;
    }
    form.reset();
    bar.hidden = true;
    announce('The key is used from now on');
    $('url').focus();
    on_key();
  });
}
