// The sections of the page. Each is a function that fills an element, and may return one that is called every few seconds.
import { call, query } from "./api.js";
import { ask, field, h, head, say, show, table, tag, time } from "./dom.js";

const at = (address) => encodeURIComponent(address);
const words = (text) => text.split(/[\s,]+/).filter(Boolean);
const small = (text, work, danger, about) =>
  h("button", { class: `small ${danger ? "danger" : ""}`, onclick: work, "aria-label": `${text}: ${about}` }, text);

// Pages one after the other, with a button for the next.
async function paged(target, load, render) {
  const items = [];
  let next = "";
  async function more() {
    const page = await load(next);
    items.push(...page.items);
    next = page.next;
    const button = next ? h("div", { class: "more" }, h("button", { onclick: () => more().catch((e) => say(e.message, true)) }, "Show more")) : null;
    show(target, ...[render(items), button].filter(Boolean));
  }
  await more();
}

export async function users(main) {
  const list = h("div");
  const filter = h("input", { class: "search", type: "search", placeholder: "Domain", "aria-label": "Only this domain" });
  const load = () =>
    paged(list, async (token) => {
      const page = await call("GET", "/users" + query({ domain: filter.value.trim(), page_token: token }));
      return { items: page.users, next: page.next_page_token };
    }, (items) => table("Users", ["User", "Name", "Logins", "State", "Actions"], items.map(row), "There are no users here."));
  const done = async (text) => { say(text); await load(); };

  function row(user) {
    return [
      user.address, user.display_name || h("span", { class: "soft" }, "none"), user.login_names.join(", "),
      user.enabled ? tag("enabled", "good") : tag("disabled", "bad"),
      [
        small("Presence", () => presence(user), false, user.address),
        small("Edit", () => edit(user), false, user.address),
        small("Password", () => password(user), false, user.address),
        small(user.enabled ? "Disable" : "Enable", () => enable(user), user.enabled, user.address),
        small("Remove", () => remove(user), true, user.address),
      ],
    ];
  }
  function add() {
    const fields = [
      field("Address", { required: true, placeholder: "alice@example.com", autocomplete: "off" }), field("Display name", { autocomplete: "off" }),
      field("Login names", { placeholder: "EXAMPLE\\alice", autocomplete: "off" }),
      field("Password", { type: "password", required: true, autocomplete: "new-password" }),
    ];
    ask("Add a user", "", fields, "Add", async ([address, name, logins, secret]) => {
      await call("POST", "/users", { address, display_name: name, login_names: words(logins), password: secret });
      await done(`${address} was added.`);
    });
  }
  function edit(user) {
    const fields = [
      field("Display name", { value: user.display_name, autocomplete: "off" }),
      field("Login names", { value: user.login_names.join(" "), autocomplete: "off" }),
    ];
    ask(`Edit ${user.address}`, "", fields, "Save", async ([name, logins]) => {
      await call("PATCH", `/users/${at(user.address)}`, { display_name: name, login_names: words(logins) });
      await done(`${user.address} was changed.`);
    });
  }
  function password(user) {
    const fields = [field("New password", { type: "password", required: true, autocomplete: "new-password" })];
    ask(`Password of ${user.address}`, "Sessions, tickets and certificates of the user end.", fields, "Set", async ([secret]) => {
      await call("PUT", `/users/${at(user.address)}/password`, { password: secret });
      await done(`${user.address} has another password.`);
    });
  }
  const enable = async (user) => {
    try {
      await call("PATCH", `/users/${at(user.address)}`, { enabled: !user.enabled });
      await done(`${user.address} was ${user.enabled ? "disabled" : "enabled"}.`);
    } catch (error) { say(error.message, true); }
  };
  function remove(user) {
    ask(`Remove ${user.address}?`, "Contacts and messages that wait go with the user.", [], "Remove", async () => {
      await call("DELETE", `/users/${at(user.address)}`);
      await done(`${user.address} was removed.`);
    }, true);
  }
  async function presence(user) {
    try {
      const state = await call("GET", `/users/${at(user.address)}/presence`);
      const activity = state.activity ? `, ${state.activity}` : "";
      say(`${user.address} is ${state.state}${activity}${state.in_call ? ", in a call" : ""}${state.note ? `: ${state.note}` : ""}.`);
    } catch (error) { say(error.message, true); }
  }
  filter.addEventListener("change", () => load().catch((error) => say(error.message, true)));
  show(main, head("Users", "People who sign in.", filter, h("button", { class: "main", onclick: add }, "Add user")), list);
  await load();
}

export async function groups(main) {
  const list = h("div");
  const load = () =>
    paged(list, async (token) => {
      const page = await call("GET", "/directory/entries" + query({ kind: "group", page_token: token }));
      return { items: page.entries, next: page.next_page_token };
    }, (items) => table("Groups", ["Group", "Mail", "Members", "From", "Actions"], items.map(row), "There are no groups yet."));
  const done = async (text) => { say(text); await load(); };
  const fields = (group) => [
    field("Name", { required: true, value: group?.display_name ?? "", autocomplete: "off" }),
    field("Mail", { type: "email", value: group?.mail ?? "", autocomplete: "off" }),
    field("Members (addresses)", { rows: "4", autocomplete: "off" }, "textarea"),
  ];
  // What stands for each member in the text, by which those who stay are known again: their ids are not searched for.
  function wordsFor(ids, entries) {
    const known = new Map();
    const byId = new Map(entries.map((item) => [item.id, item]));
    for (const id of ids) {
      const { address = "", mail = "" } = byId.get(id) ?? {};
      const fits = (word) => words(word).length === 1 && !known.has(word.toLowerCase());
      known.set(([address, mail].find(fits) ?? id).toLowerCase(), id);
    }
    return known;
  }
  async function ids(text, known = new Map()) {
    const found = [];
    for (const word of words(text)) {
      const id = known.get(word.toLowerCase());
      if (id) {
        found.push(id);
        continue;
      }
      const page = await call("GET", "/directory/search" + query({ q: word, limit: 10 }));
      const entry = page.entries.find((item) => item.address === word.toLowerCase() || item.mail.toLowerCase() === word.toLowerCase());
      if (!entry) throw new Error(`Nobody is called ${word}.`);
      found.push(entry.id);
    }
    return found;
  }
  const row = (group) => [
    group.display_name || group.id, group.mail, group.rule ? tag("by rule") : String(group.members.length), tag(group.source),
    [
      small("Members", () => members(group), false, group.display_name),
      small("Edit", () => edit(group), false, group.display_name),
      small("Remove", () => remove(group), true, group.display_name),
    ],
  ];
  function add() {
    ask("Add a group", "", fields(), "Add", async ([name, mail, text]) => {
      await call("POST", "/directory/entries", { kind: "group", display_name: name, mail, members: await ids(text) });
      await done(`${name} was added.`);
    });
  }
  async function edit(group) {
    let present = [];
    try {
      if (group.members.length) present = (await call("GET", `/directory/groups/${group.id}/members?limit=10000`)).members;
    } catch (error) {
      say(error.message, true);
      return;
    }
    const known = wordsFor(group.members, present);
    const inputs = fields(group);
    inputs[2].input.value = [...known.keys()].join("\n");
    ask(`Edit ${group.display_name}`, "", inputs, "Save", async ([name, mail, text]) => {
      const { id, photo_hash, photo_size, source, version, ...rest } = group;
      const wanted = { ...rest, display_name: name, mail, members: await ids(text, known) };
      await call("PUT", `/directory/entries/${id}`, wanted, { "If-Match": `"${version}"` });
      await done(`${name} was changed.`);
    });
  }
  async function members(group) {
    try {
      const found = await call("GET", `/directory/groups/${group.id}/members?nested=true&limit=10000`);
      const names = found.members.map((item) => item.display_name || item.address).join(", ");
      say(`${group.display_name}: ${names || "nobody"}.`);
    } catch (error) { say(error.message, true); }
  }
  function remove(group) {
    ask(`Remove ${group.display_name}?`, "Its members stay.", [], "Remove", async () => {
      await call("DELETE", `/directory/entries/${group.id}`, undefined, { "If-Match": `"${group.version}"` });
      await done(`${group.display_name} was removed.`);
    }, true);
  }
  show(main, head("Groups", "Distribution lists of the directory.", h("button", { class: "main", onclick: add }, "Add group")), list);
  await load();
}

export async function live(main) {
  const body = h("div");
  show(main, head("Live", "Endpoints that have signed in, and calls that go on; renewed every five seconds."), body);
  async function load() {
    const [registered, going] = await Promise.all([call("GET", "/registrations?page_size=500"), call("GET", "/calls")]);
    const people = new Set(registered.registrations.map((item) => item.address)).size;
    const tile = (number, text) => h("div", { class: "card tile" }, h("b", {}, String(number)), h("span", { class: "soft" }, text));
    const calls = going.calls.map((item) => [
      item.caller, item.called, tag(item.state, item.state === "answered" ? "good" : "busy"), time(item.started_at_ms), item.call_id,
    ]);
    const endpoints = registered.registrations.map((item) => [
      item.address, item.transport, item.received, item.user_agent || "unknown", time(item.registered_at_ms), time(item.expires_at_ms),
      item.reachable ? tag("reachable", "good") : tag("lost", "bad"),
    ]);
    show(
      body,
      h("div", { class: "tiles" }, tile(people, "users signed in"), tile(endpoints.length, "endpoints"), tile(calls.length, "calls"),
        tile(`${going.front_ends - going.silent_front_ends}/${going.front_ends}`, "front ends answer")),
      h("h2", {}, "Calls"), table("Calls", ["From", "To", "State", "Since", "Call-ID"], calls, "Nobody is in a call."),
      h("h2", {}, "Endpoints"),
      table("Endpoints", ["User", "By", "From", "Program", "Since", "Until", "State"], endpoints, "Nobody has signed in."),
    );
  }
  await load();
  return load;
}

export async function sync(main) {
  const body = h("div");
  show(main, head("Sync", "Directory servers that entries come from."), body);
  async function load() {
    const said = await call("GET", "/directory/sync");
    const state = (item) => tag(item.state, { done: "good", failed: "bad" }[item.state] ?? "busy");
    const rows = said.sources.map((item) => [
      item.source, state(item), String(item.entries), `${item.added} / ${item.changed} / ${item.removed}`, String(item.bad),
      time(item.last_success_at_ms), item.failure || item.problems.slice(0, 3).join("; "),
    ]);
    const columns = ["Source", "State", "Entries", "Added / changed / removed", "Bad", "Last success", "Problem"];
    show(body, table("Sources", columns, rows, "No directory server is configured; see addressbook.directory.ldap."));
  }
  await load();
  return load;
}

export async function devices(main) {
  const body = h("div");
  show(main, head("Device updates", "What phones get, and what waits for a decision."), body);
  const load = async () => {
    let said;
    try {
      said = await call("GET", "/device-updates");
    } catch (error) {
      if (error.status !== 404) throw error;
      show(body, h("div", { class: "card" }, h("p", { class: "empty" }, "This server has no device updates.")));
      return;
    }
    show(body, table("Device updates", ["Rule", "Devices", "Pending", "Approved", "Actions"], said.rules.map(row), "No update was uploaded."));
  };
  // With the version that is shown: another one that has come meanwhile is not what was decided on (409).
  const decide = (rule, decision, update, text) => async () => {
    try {
      await call("POST", `/device-updates/${at(rule.id)}/${decision}`, { version: update?.version ?? "" });
      say(text);
      await load();
    } catch (error) { say(error.message, true); }
  };
  const row = (rule) => [
    rule.id, [rule.vendor, rule.model, rule.revision, rule.locale].filter(Boolean).join(" ") || "all",
    rule.pending ? tag(rule.pending.version, "busy") : "none", rule.approved ? tag(rule.approved.version, "good") : "none",
    [
      rule.pending ? small("Approve", decide(rule, "approve", rule.pending, "It goes to all devices."), false, rule.id) : null,
      rule.pending ? small("Reject", decide(rule, "reject", rule.pending, "It was dropped."), true, rule.id) : null,
      rule.previous ? small("Roll back", decide(rule, "rollback", rule.approved, "Devices go back."), true, rule.id) : null,
    ].filter(Boolean),
  ];
  await load();
  return load;
}
