// Runs a function again and again while the page is visible: never two at a time, at once when the page comes back,
// and slower while it fails. The function returns false to say that it failed.

const kSlowest = 5000;

export function every(period, run) {
  let timer = 0;
  let running = false;
  let again = false;
  let wait = period;

  async function turn() {
    clearTimeout(timer);
    if (running) {
      again = true;
      return;
    }
    running = true;
    const ok = await run();
    running = false;
    wait = ok === false ? Math.min(kSlowest, Math.max(period, 1000) * 1.5) : period;
    const soon = again;
    again = false;
    if (document.visibilityState === 'visible') timer = setTimeout(turn, soon ? 0 : wait);
  }

  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') turn();
    else clearTimeout(timer);
  });
  turn();
  return turn;
}
