// Clicks as they come, in a list that holds the last ones and no more. It is watched only when somebody asks to: a
// node lets a hundred watch at a time.

import * as api from './api.js';
import { el, set_text } from './dom.js';
import { whole } from './format.js';

const kKept = 50;
const kClock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const kAgain = 2000;

// Gives back {watch(name), stop()}: name "" for the clicks of all links.
export function live_clicks(place) {
  const toggle = el('button', { type: 'button', class: 'watch', 'aria-pressed': 'false' }, 'Watch');
  const said = el('p', { class: 'note', role: 'status' }, 'Clicks appear here as they come.');
  const count = el('p', { class: 'note live-count' });  // not spoken: it changes with each click
  const list = el('ol', { class: 'live-list', 'aria-label': 'Last clicks, newest first', tabindex: '0', hidden: true });
  place.append(el('div', { class: 'live-head' }, toggle, said, count), list);
  let stop = null;   // an AbortController while watching
  let name = '';
  let seen = 0;

  function show(click) {
    const facts = [click.country, click.device, click.os, click.browser, click.referrer, click.source === 'qr' ? 'QR code' : '']
      .filter((fact) => fact && fact !== 'unknown' && fact !== 'other' && fact !== 'bot');
    list.prepend(el('li', {}, el('time', { datetime: click.at }, kClock.format(new Date(click.at))),
      el('b', { class: 'mono' }, click.code), el('span', {}, facts.join(' · ')),
      click.bot ? el('span', { class: 'badge' }, 'bot') : null));
    while (list.children.length > kKept) list.lastChild.remove();
    list.hidden = false;
    seen += 1;
  }

  const say = () => set_text(count, seen ? `${whole(seen)} ${seen === 1 ? 'click' : 'clicks'}, the last ${kKept} kept` : '');

  async function read(mine) {
    const response = await api.open(`/v1/stream${name ? `?${new URLSearchParams(api.parts_of(name))}` : ''}`,
      { headers: { accept: 'text/event-stream' }, signal: mine.signal });
    set_text(said, 'Watching. Open a short link to see it here.');
    let event = '';
    for await (const line of api.lines(response)) {
      if (mine.signal.aborted) return;
      if (line.startsWith('event:')) event = line.slice(6).trim();
      if (line.startsWith('data:')) {
        const data = JSON.parse(line.slice(5));
        if (event === 'click') {
          show(data);
          say();
        } else if (event === 'left_out') {
          seen += data.clicks;
          say();
        }
      }
    }
  }

  function pause() {
    stop?.abort();
    stop = null;
    set_text(toggle, 'Watch');
    toggle.setAttribute('aria-pressed', 'false');
  }

  async function watch() {
    pause();
    const mine = new AbortController();
    stop = mine;
    set_text(toggle, 'Pause');
    toggle.setAttribute('aria-pressed', 'true');
    set_text(said, 'Connecting');
    while (!mine.signal.aborted) {
      try {
        await read(mine);
      } catch (problem) {
        if (mine.signal.aborted) return;
        set_text(said, `${problem.message} Trying again.`);
        if (problem.status === 401 || problem.status === 403 || problem.status === 404) {
          set_text(said, problem.message);
          pause();
          return;
        }
      }
      if (!mine.signal.aborted) await new Promise((resolve) => setTimeout(resolve, kAgain));
    }
  }

  toggle.addEventListener('click', () => {
    if (stop) {
      pause();
      set_text(said, 'Paused. What comes meanwhile is not shown.');
    } else {
      watch();
    }
  });

  return {
    watch(which) {
      name = which;
      seen = 0;
      list.replaceChildren();
      list.hidden = true;
      say();
      watch();
    },
    stop: pause,
  };
}
