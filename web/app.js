// The first page: shorten a link, see it listed, counted and told apart, see the tiers it passes.

import { start_blocklist } from './blocklist.js';
import { card_name, forget_card, start_create, update_card } from './create.js';
import { start_domains } from './domains.js';
import { start_keys } from './keys.js';
import { start_links } from './links.js';
import { start_stats } from './stats.js';
import { start_tiers } from './tiers.js';
import { start_transfer } from './transfer.js';

const open_stats = start_stats();
const links = start_links({ on_link: update_card, on_gone: forget_card, extra: card_name, open_stats });
const domains = start_domains();
start_blocklist();
start_keys({ on_key: () => { links.refresh(); domains.refresh(); } });
start_transfer({ on_links: () => links.refresh() });
start_create({ on_created: (link) => links.add(link), on_follow: (name) => links.follow(name) });
start_tiers();
