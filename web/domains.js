// The domains of the node: which one a new link stands on, and for who may manage them all of them with their fallbacks.

import * as api from './api.js';
import { $, announce, el, set_text, sure_button } from './dom.js';
import { prepare_dialog } from './dialogs.js';
import { prepare_form, show_at, show_problem, with_scheme } from './fields.js';

const kFallbacks = { unknown_url: 'unknown codes', gone_url: 'ended links', root_url: 'the bare domain' };

// Gives back refresh(), for when another key is used.
export function start_domains() {
  const dialog = $('domains');
  const choice = $('domain');
  let edited = null;  // the domain in the form, null for a new one
  let asked = 0;      // answers to what was asked before the last question are dropped
  prepare_dialog(dialog);

  function show_choice(domains) {
    const chosen = choice.value;
    choice.replaceChildren(...domains.map((domain) => el('option', { value: domain.host }, domain.host)));
    if (domains.some((domain) => domain.host === chosen)) choice.value = chosen;
    $('domain-field').hidden = domains.length < 2;
    document.body.classList.toggle('many-domains', domains.length > 1);
  }

  // Without an answer there is no choice: the node puts the link where it belongs.
  const refresh = () => api.list_domains().then((domains) => show_choice(domains), () => show_choice([]));

  function edit(domain) {
    edited = domain;
    form.reset();
    for (const name of ['base_url', ...Object.keys(kFallbacks)]) form.elements[name].value = domain?.[name] ?? '';
    form.elements.base_url.disabled = Boolean(domain?.default);
    set_text($('domain-form-title'), domain ? `Change ${domain.host}` : 'Add a domain');
    set_text($('domain-submit'), domain ? 'Save' : 'Add domain');
    $('domain-cancel').hidden = !domain;
  }

  function domain_row(domain) {
    const fallbacks = Object.entries(kFallbacks).filter(([name]) => domain[name]);
    const change = el('button', { type: 'button', 'aria-label': `Change ${domain.host}` }, 'Change');
    change.addEventListener('click', () => {
      edit(domain);
      form.elements[domain.default ? 'unknown_url' : 'base_url'].focus();
    });
    const remove = domain.default ? null : sure_button('Remove', domain.host, async () => {
      let failure = '';
      try {
        await api.delete_domain(domain.id);
        announce(`Removed ${domain.host}`);
      } catch (problem) {
        failure = problem.message;
      }
      edit(null);
      await list();
      if (failure) set_text($('domains-status'), failure);
      form.elements.base_url.focus();
    });
    return el('li', { 'data-host': domain.host },
      el('div', {}, el('b', { class: 'mono' }, domain.base_url), domain.default ? el('span', { class: 'badge' }, 'default') : null,
        ...fallbacks.map(([name, what]) => el('p', { class: 'note' }, `${what}: ${domain[name]}`))),
      el('div', { class: 'row-buttons' }, change, remove));
  }

  async function list() {
    const mine = asked += 1;
    try {
      const domains = await api.list_domains();
      if (mine !== asked) return;
      show_choice(domains);
      $('domains-list').replaceChildren(...domains.map(domain_row));
      $('domains-manage').hidden = false;
      set_text($('domains-status'), '');
    } catch (problem) {
      $('domains-manage').hidden = true;
      set_text($('domains-status'), problem.status === 404 ? 'This node has no domains to manage.' : problem.message);
    }
  }

  const form = prepare_form($('domain-form'), async () => {
    const body = {};
    if (!edited?.default) body.base_url = with_scheme(form.elements.base_url.value);
    if (body.base_url === '') {
      show_at(form.elements.base_url, 'Enter its address, such as https://go.example.com.');
      return;
    }
    for (const name of Object.keys(kFallbacks)) body[name] = with_scheme(form.elements[name].value) || null;
    try {
      const domain = edited ? await api.change_domain(edited.id, body) : await api.add_domain(body);
      announce(`${edited ? 'Saved' : 'Added'} ${domain.host}`);
      edit(null);
      await list();
      form.elements.base_url.focus();
    } catch (problem) {
      show_problem(form, problem);
    }
  });

  $('domain-cancel').addEventListener('click', () => {
    edit(null);
    form.elements.base_url.focus();
  });
  $('domains-open').addEventListener('click', () => {
    edit(null);
    $('domains-manage').hidden = true;  // until it is known how they are now: no row is pressed that is about to be replaced
    dialog.showModal();
    list();
  });

  refresh();
  return { refresh };
}
