// Drives headless Chromium for dashboard.t; prints "ok - text" lines.
// GP_SCREENSHOTS: keep pictures of every page there.
import { createRequire } from 'node:module';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Failure, startServer } from './dashboard_server.mjs';

const require = createRequire(path.join(path.dirname(new URL(import.meta.url).pathname), '../../dashboard/package.json'));
const { chromium } = require('playwright-core');
const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const { GP_DIST, GP_PROFILE, GP_SCREENSHOTS } = process.env;

let failed = 0;
function ok(cond, text) {
    console.log(`${cond ? 'ok' : 'not ok'} - ${text}`);
    if (!cond) failed++;
    return cond;
}
function is(got, want, text) {
    if (!ok(got === want, text)) console.log(`  got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

const world = await startServer(GP_DIST);
const context = await chromium.launchPersistentContext(GP_PROFILE, {
    executablePath: path.join(path.dirname(new URL(import.meta.url).pathname), 'chromium.pl'),
    headless: true,
    viewport: { width: 1280, height: 800 },
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync'],
});
context.setDefaultTimeout(10000);
const page = context.pages()[0] ?? (await context.newPage());
const problems = [];
const left = /favicon\.svg.* from origin 'null'|ERR_FAILED .*\/favicon\.svg/; // its page went to about:blank before it had come
let expected = []; // patterns of network errors that a scenario provokes
await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}`));
});
page.on('console', (m) => {
    const text = `${m.text()} ${m.location().url}`;
    if (m.type() === 'error' || m.type() === 'warning') {
        if (![left, ...expected].some((p) => p.test(text))) problems.push(text);
    }
});
page.on('pageerror', (e) => problems.push(String(e)));

const minutesAgo = (n) => new Date(Date.now() - n * 60000).toISOString();
function workspace(id, name, url, phase, more = {}) {
    const { pinned = false, ago = 5, warnings = [], spec = {}, ...status } = more;
    world.workspaces.set(id, {
        id,
        metadata: { ownerId: 'u', name, pinned, originalContextUrl: url, warnings },
        spec: { timeout: { disconnected: '1800s' }, lastUserActivity: minutesAgo(ago), ...spec },
        status: {
            statusVersion: '1', phase: { name: phase, lastTransitionTime: minutesAgo(ago) }, instanceId: `i-${id}`,
            workspaceUrl: `${world.url}/editor/${id}`, ...status,
        },
    });
}
function someWorkspaces() {
    world.workspaces.clear();
    workspace('acme-shop-4f7kq2m9x1', 'shop: checkout redesign', 'https://github.com/acme/shop/tree/checkout-redesign', 'PHASE_RUNNING',
        { ago: 2, gitStatus: { branch: 'checkout-redesign', totalUncommitedFiles: 3, totalUnpushedCommits: 1 } });
    workspace('acme-api-9d2mz8w3rt', 'api', 'https://gitlab.example.com/platform/backend/api', 'PHASE_STOPPED',
        { ago: 3000, pinned: true, conditions: { timeout: '30m' }, gitStatus: { branch: 'main' } });
    workspace('acme-docs-1a2b3c4d5e', 'docs', 'https://github.com/acme/docs', 'PHASE_INITIALIZING',
        { ago: 0, progress: { step: 'Cloning the repository', detail: 'Receiving objects: 43 % (1.2 MiB)', percent: 43 }, gitStatus: { branch: 'main' } });
    workspace('acme-legacy-7h8j9k0l1m', 'legacy', 'https://bitbucket.org/acme/legacy', 'PHASE_STOPPED',
        { ago: 90, conditions: { failed: 'The branch "mian" does not exist in https://bitbucket.org/acme/legacy. Branches that do: main, next. Check the spelling in the URL.' } });
    workspace('git-git-0p9o8i7u6y', 'git', 'https://github.com/git/git', 'PHASE_STOPPING', { ago: 1, progress: { step: 'Stopping the container', percent: -1 } });
    workspace('acme-infra-5t4r3e2w1q', 'infra with a rather long name that somebody typed in a meeting', 'https://github.com/acme/infrastructure-as-code-monorepo', 'PHASE_STOPPED', { ago: 60 * 24 * 30, warnings: ['.gitpod.yml: jetbrains is not supported yet'] });
}

async function shot(name) {
    if (GP_SCREENSHOTS) {
        mkdirSync(GP_SCREENSHOTS, { recursive: true });
        await page.screenshot({ path: `${GP_SCREENSHOTS}/${name}.png`, fullPage: !name.includes('dialog') });
    }
}

// The page looks as the browser has just been told: what fades has faded (what turns for ever goes on).
const still = (condition, value) => page.waitForFunction(([isSo, wanted]) => {
    const so = isSo === 'scheme' ? matchMedia(`(prefers-color-scheme: ${wanted})`).matches : innerWidth === wanted;
    return so && document.getAnimations().every((a) => a.playState === 'finished' || a.effect.getComputedTiming().endTime === Infinity);
}, [condition, value]);
// What the page does by itself has reached the server: its effects have run, and a request of ours was answered behind theirs.
const settled = () => page.evaluate(async () => {
    for (let i = 0; i < 2; i++) await new Promise((r) => requestAnimationFrame(r));
    await fetch('/', { cache: 'no-store' });
});

// Both themes and a phone: nothing too wide, nothing axe objects to.
async function look(name) {
    for (const scheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme: scheme });
        await still('scheme', scheme);
        await page.evaluate(axeSource);
        const violations = await page.evaluate(async () => {
            const found = await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] });
            return found.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 120)).join(' ; ')}`);
        });
        is(violations.join('\n'), '', `${name}, ${scheme}: no accessibility violation`);
        await shot(`${name}-${scheme}`);
    }
    await page.setViewportSize({ width: 360, height: 740 });
    await still('width', 360);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    ok(width <= 360, `${name}: fits a phone of 360 px (is ${width})`);
    await shot(`${name}-phone`);
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.emulateMedia({ colorScheme: 'light' });
}

const text = (selector) => page.locator(selector).first().innerText();
const go = async (to) => {
    await page.goto('about:blank');
    await page.goto(world.url + to);
};
async function until(get, what) {
    const end = Date.now() + 8000;
    while (Date.now() < end) {
        if (await get()) return ok(true, what);
        await new Promise((r) => setTimeout(r, 50));
    }
    return ok(false, what);
}

async function login() {
    world.signedIn = false;
    expected = [/401/];
    await go('/login');
    await page.getByRole('heading', { name: 'Log in' }).waitFor();
    is(world.calls.length, 0, 'the log-in page asks the server nothing it would refuse');
    await look('login');
    await go('/login?error=link');
    ok((await text('[role=alert]')).includes('used before or has expired'), 'a spent link is explained');
    await look('login-spent');
    await page.getByLabel(/paste the link/i).fill('http://elsewhere.example/api/login/link?token=x');
    await page.keyboard.press('Enter');
    ok((await text('.field-problem')).includes('is for http://elsewhere.example'), 'a link of another server is refused in words');

    await go('/#https://github.com/acme/private');
    await page.waitForURL('**/login?return=*');
    ok(true, 'a context URL without a session goes to the log-in');
    is(world.called('CreateAndStartWorkspace').length, 1, 'nothing was created before the log-in but one refused try');
    world.calls.length = 0;
    workspace('acme-private-aaaaaaaa', 'private', 'https://github.com/acme/private', 'PHASE_PREPARING', { ago: 0 });
    world.answers.CreateAndStartWorkspace = () => ({ workspace: world.workspaces.get('acme-private-aaaaaaaa') });
    await page.getByLabel(/paste the link/i).fill(`${world.url}/api/login/link?token=abc`);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/start/#acme-private-aaaaaaaa');
    ok(true, 'after the log-in the wanted workspace starts: the hash survived');
    const [created] = world.called('CreateAndStartWorkspace');
    is(created.contextUrl.url, 'https://github.com/acme/private', 'it is made from the URL that was wanted');
    ok(/^[0-9a-f]{32}$/.test(created.metadata.annotations['idempotency-key']), 'the request carries an idempotency key');
    expected = [];
}

async function create() {
    world.calls.length = 0;
    let release;
    world.answers.CreateAndStartWorkspace = () => new Promise((r) => { release = r; });
    await go('/#https://github.com/acme/docs');
    await until(() => world.called('CreateAndStartWorkspace').length === 1, 'a hash starts a workspace at once');
    await shot('create-light');
    await page.reload();
    await until(() => world.called('CreateAndStartWorkspace').length === 2, 'a reload asks again');
    const keys = world.called('CreateAndStartWorkspace').map((q) => q.metadata.annotations['idempotency-key']);
    is(keys[0], keys[1], 'with the same key: no second workspace');
    release({ workspace: world.workspaces.get('acme-private-aaaaaaaa') });
    await page.waitForURL('**/start/#acme-private-aaaaaaaa');

    expected = [/status of 4\d\d/];
    world.answers.CreateAndStartWorkspace = () => new Failure('failed_precondition',
        'https://git.example.com:8443/acme/secret cannot be read: it does not exist or needs a token.\nAdd a Git token for git.example.com:8443 under Settings, then try again.');
    await go('/new#https://git.example.com:8443/acme/secret');
    await page.getByRole('heading', { name: 'No workspace was started' }).waitFor();
    ok((await text('.notice.bad')).includes('needs a token'), 'a refusal shows the server\'s own words');
    is(await page.getByRole('link', { name: 'Add a Git token' }).getAttribute('href'), '/settings/git-tokens?host=git.example.com%3A8443&return=%2F%23https%3A%2F%2Fgit.example.com%3A8443%2Facme%2Fsecret', 'and leads to the token of that host');
    await look('create-refused');
    const retry = world.called('CreateAndStartWorkspace').length;
    world.answers.CreateAndStartWorkspace = () => ({ workspace: world.workspaces.get('acme-private-aaaaaaaa') });
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.waitForURL('**/start/#acme-private-aaaaaaaa');
    const after = world.called('CreateAndStartWorkspace');
    ok(after[retry].metadata.annotations['idempotency-key'] !== after[retry - 1].metadata.annotations['idempotency-key'], 'Try again is a new request');
    expected = [];
}

async function start() {
    const id = 'acme-shop-start00001';
    await page.goto('about:blank'); // or the page before asks for what is gone
    const phase = (name, more = {}, at = Date.now()) => world.publish(id, { phase: { name, lastTransitionTime: new Date(at).toISOString() }, ...more });
    world.workspaces.clear();
    workspace(id, 'shop', 'https://github.com/acme/shop', 'PHASE_PREPARING', { ago: 0, warnings: [
        '.gitpod.yml: vscode.extensions is not supported yet', '.gitpod.yml: jetbrains is not supported yet'] });
    await go('/workspaces');
    await go(`/start/#${id}`);
    await page.locator('.step.active', { hasText: 'Preparing' }).waitFor();
    ok(true, 'the first phase is the active one');
    await until(() => [...world.streams].some((s) => s.id === id), 'the page follows the workspace by a stream');
    const created = Date.now();
    phase('PHASE_CREATING', { progress: { step: 'Creating the container', detail: '', percent: -1 } }, created);
    await page.locator('.step.active', { hasText: 'Creating the container' }).waitFor();
    phase('PHASE_INITIALIZING', { progress: { step: 'Cloning the repository', detail: 'Receiving objects: 62 % (8.4 MiB)', percent: 62 } }, created + 400);
    await page.locator('.step.active', { hasText: 'Getting the content' }).waitFor();
    await page.locator('.step.active .step-detail', { hasText: '62 %' }).waitFor();
    is(await page.locator('progress').getAttribute('value'), '62', 'progress shows in percent');
    is(await text('.step.done:nth-child(2) .elapsed'), '0.4 s', 'a finished phase keeps its own time, by the clock of the server');
    ok((await text('.notice.warn')).includes('vscode.extensions is not supported yet'), 'keys that are not supported are named');
    await look('start');
    await page.reload();
    await page.locator('.step.active', { hasText: 'Getting the content' }).waitFor();
    is(await text('.step.done:nth-child(2) .elapsed'), '0.4 s', 'a reload keeps the times');
    phase('PHASE_INITIALIZING', { progress: { step: 'Starting the editor', detail: '', percent: -1 } });
    await page.locator('.step.active', { hasText: 'Starting the editor' }).waitFor();
    ok(true, 'the editor is a phase of its own');

    expected = [/ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION/];
    world.cut();
    await until(() => [...world.streams].some((s) => s.id === id), 'a lost stream comes back by itself');
    phase('PHASE_RUNNING', { progress: undefined });
    await page.getByText('Opens by itself in').waitFor();
    ok((await text('.notice.warn')).includes('jetbrains'), 'warnings that are new stay for some seconds before the editor opens');
    await page.getByRole('button', { name: 'Wait, I am reading' }).click();
    await look('start-ready');
    await page.evaluate(() => localStorage.removeItem('gitpod.warnings'));
    await page.reload();
    await page.getByText('Opens by itself in').waitFor();
    await page.waitForURL('**/editor/**');
    ok(true, 'when it runs the page goes to the editor by itself');
    await go('/start/#' + id);
    await page.waitForURL('**/editor/**', { timeout: 3000 });
    ok(true, 'warnings that were shown before keep nobody waiting');
    await page.goBack();
    ok(!page.url().includes('/start/'), 'the browser\'s Back does not fall into the start page again');

    const failure = 'The repository https://git.example.com/acme/shop could not be cloned: authentication failed.\nThe token for git.example.com was refused: it may have expired. Replace it under Settings, Git tokens.';
    world.workspaces.get(id).status = { ...world.workspaces.get(id).status, instanceId: 'i-2', phase: { name: 'PHASE_INITIALIZING', lastTransitionTime: new Date().toISOString() } };
    await go(`/start/#${id}`);
    await page.locator('.step.active').waitFor();
    await until(() => [...world.streams].some((s) => s.id === id), 'the stream is there');
    phase('PHASE_STOPPING', { conditions: { failed: failure } });
    await page.locator('.notice.bad').waitFor();
    ok(await page.getByText('Stopping the workspace').isVisible(), 'a failure shows before the rest of it is cleaned up');
    phase('PHASE_STOPPED', { conditions: { failed: failure } });
    await page.getByRole('button', { name: 'Try again' }).waitFor();
    ok((await text('.notice.bad')).includes('may have expired'), 'a failure says what, why and what to do');
    ok((await text('.step.failed')).includes('Getting the content'), 'and which phase it was');
    ok(await page.getByRole('link', { name: /Add a Git token for git\.example\.com/ }).isVisible(), 'with the way to the token');
    await look('start-failed');
    world.calls.length = 0;
    world.answers.StartWorkspace = () => {
        phase('PHASE_PREPARING', { instanceId: 'i-3', conditions: {} });
        return { workspace: world.workspaces.get(id) };
    };
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.locator('.step.active', { hasText: 'Preparing' }).waitFor();
    await until(() => world.called('StartWorkspace').length > 0, 'the call was made');
    is(world.called('StartWorkspace').length, 1, 'Try again starts it once more');

    phase('PHASE_STOPPING', { progress: { step: 'Stopping the container', percent: -1 } });
    await page.getByText('Stopping the container').waitFor();
    ok(true, 'stopping is shown');
    await shot('start-stopping-light');
    phase('PHASE_STOPPED', { conditions: { timeout: '30m' }, gitStatus: { totalUncommitedFiles: 2 } });
    await page.getByText('nobody used it for 30m').waitFor();
    ok(true, 'a stop for being idle says so');
    await look('start-stopped');
    world.calls.length = 0;
    await go(`/start/?autostart=false#${id}`);
    await page.getByRole('button', { name: 'Open workspace' }).waitFor();
    await settled();
    is(world.called('StartWorkspace').length, 0, 'a stopped workspace does not start by itself');
    await page.keyboard.press('Enter');
    await until(() => world.called('StartWorkspace').length === 1, 'Enter on the page starts it');
    delete world.answers.StartWorkspace;

    expected.push(/status of 404/);
    await go('/start/#no-such-workspace1');
    await page.getByRole('heading', { name: 'There is no such workspace' }).waitFor();
    await look('start-missing');
    expected = [];
}

// On a page whose clock we turn: what the form would ask in a second after each of two inputs.
async function typing() {
    const whole = 'https://github.com/acme/shop/tree/next';
    const asked = world.called('ParseContextURL').length;
    const other = await context.newPage();
    await other.clock.install();
    await other.goto(`${world.url}/workspaces`);
    for (const value of ['nope', whole]) {
        await other.getByLabel('New workspace from a Git URL').fill(value);
        await other.clock.runFor(1000);
    }
    await other.getByText('Opens github.com/acme/shop, at next').waitFor();
    is(world.called('ParseContextURL').slice(asked).map((q) => q.contextUrl).join(), whole, 'half a URL is not asked about while it is typed');
    await other.close();
}

async function list() {
    await page.goto('about:blank');
    world.workspaces.clear();
    await go('/workspaces');
    await page.getByRole('heading', { name: 'No workspaces yet' }).waitFor();
    await look('empty');
    await page.getByRole('button', { name: /A branch or tag/ }).click();
    is(await page.getByLabel('New workspace from a Git URL').inputValue(), 'https://github.com/octocat/Hello-World/tree/test', 'an example fills the form');

    someWorkspaces();
    await go('/workspaces');
    const rows = page.locator('[data-workspace-id]');
    await rows.first().waitFor();
    is((await rows.evaluateAll((all) => all.map((e) => e.dataset.workspaceId.split('-')[1]))).join(' '), 'api docs git shop legacy infra', 'pinned first, then by last use');
    await look('workspaces');

    world.answers.ParseContextURL = (q) => q.contextUrl.includes('nope')
        ? new Failure('invalid_argument', 'context_url: "nope" is not a URL of a Git repository. It looks like https://host/owner/repository.')
        : { metadata: { warnings: [] }, spec: { initializer: { specs: [{ git: { remoteUri: 'https://github.com/acme/shop.git', cloneTarget: 'next' } }] } } };
    expected = [/status of 400/];
    await page.getByLabel('New workspace from a Git URL').fill('https://host.example/nope');
    await page.getByText('is not a URL of a Git repository').waitFor();
    ok(true, 'a wrong URL is explained beside the field before it is sent');
    world.answers.CreateAndStartWorkspace = (q) => new Failure('invalid_argument', `context_url.url: "${q.contextUrl.url}" is not a URL of a Git repository.`);
    await typing();
    await page.getByLabel('New workspace from a Git URL').fill('nope');
    await page.keyboard.press('Enter');
    await page.getByText('is not a URL of a Git repository').waitFor();
    ok(page.url().endsWith('/workspaces'), 'but explained when it is sent');
    await shot('workspaces-problem-light');
    expected = [];
    await page.getByLabel('New workspace from a Git URL').fill('https://github.com/acme/shop/tree/next');
    await page.getByText('Opens github.com/acme/shop, at next').waitFor();
    ok(true, 'a right one says what it opens');
    await page.getByLabel('New workspace from a Git URL').fill('');

    await page.locator('h1').click();
    await page.keyboard.press('/');
    await page.keyboard.type('acme stopped');
    await until(async () => (await rows.count()) === 2, 'search finds by several words, state included');
    await page.keyboard.press('Escape');
    await until(async () => (await rows.count()) === 6, 'Escape clears the search');
    await page.getByLabel('Search the workspaces').fill('zzz');
    await page.getByText('Nothing matches').waitFor();
    await page.getByRole('button', { name: 'Show all' }).click();

    const shop = page.locator('[data-workspace-id="acme-shop-4f7kq2m9x1"]');
    world.answers.StopWorkspace = () => {
        setTimeout(() => world.publish('acme-shop-4f7kq2m9x1', { phase: { name: 'PHASE_STOPPED', lastTransitionTime: new Date().toISOString() } }), 150);
        return {};
    };
    await shop.getByRole('button', { name: /^Stop/ }).click();
    await until(async () => (await shop.getAttribute('data-state')) === 'stopped', 'Stop works and the row follows the stream');
    ok((await shop.innerText()).includes('3 uncommitted files, 1 unpushed commit'), 'unsaved work is named');

    await shop.getByRole('button', { name: /^Rename/ }).click();
    await shot('rename-dialog-light');
    await page.keyboard.press('Escape');
    is(await page.locator('dialog[open]').count(), 0, 'Escape closes a dialog');
    ok(/^Rename/.test(await page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? '')), 'and the focus returns to where it was');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').getByRole('textbox').fill('shop 2');
    await page.keyboard.press('Enter');
    await shop.getByText('shop 2').waitFor();
    is(world.workspaces.get('acme-shop-4f7kq2m9x1').metadata.name, 'shop 2', 'Rename works by keyboard alone');

    await shop.getByRole('button', { name: /^Pin/ }).click();
    await shop.getByRole('button', { name: /^Unpin/ }).waitFor();
    is(await rows.first().getAttribute('data-workspace-id'), 'acme-shop-4f7kq2m9x1', 'Pin moves it up');

    expected = [/status of 5\d\d/];
    world.answers.StartWorkspace = () => new Failure('unavailable', 'the container engine does not answer; running workspaces go on. Look at ./build.sh status.');
    await shop.getByRole('button', { name: /^Start/ }).click();
    await shop.getByText('container engine does not answer').waitFor();
    ok(true, 'an action that fails says so in its row');
    delete world.answers.StartWorkspace;
    expected = [];

    await shop.getByRole('button', { name: /^Delete/ }).click();
    const dialog = page.getByRole('dialog');
    ok((await dialog.innerText()).includes('shop 2') && (await dialog.innerText()).includes('3 uncommitted files'), 'Delete names the workspace and what is lost');
    await page.emulateMedia({ colorScheme: 'dark' });
    await shot('delete-dialog-dark');
    await page.emulateMedia({ colorScheme: 'light' });
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    is(await rows.count(), 6, 'Cancel deletes nothing');
    await shop.getByRole('button', { name: /^Delete/ }).click();
    await page.getByRole('dialog').getByRole('button', { name: /delete/i }).click();
    await until(async () => (await rows.count()) === 5, 'Delete removes the row');

    expected = [/ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION/];
    workspace('acme-new-11112222aa', 'made elsewhere', 'https://github.com/acme/new', 'PHASE_RUNNING', { ago: 0 });
    world.publish('acme-new-11112222aa', {});
    await page.getByText('made elsewhere').waitFor();
    ok(true, 'a workspace made elsewhere appears');
    const api = page.locator('[data-workspace-id="acme-api-9d2mz8w3rt"]');
    const listed = world.called('ListWorkspaces').length;
    world.cut();
    world.publish('acme-api-9d2mz8w3rt', { phase: { name: 'PHASE_RUNNING' }, workspaceUrl: `${world.url}/editor` });
    await until(async () => (await api.getAttribute('data-state')) === 'running', 'what happened while the stream was away is caught up');
    await until(() => world.called('events').at(-1).last, 'from where the stream ended');
    ok(world.called('ListWorkspaces').length >= listed, 'the list is there meanwhile');
    world.cut();
    world.forget();
    world.workspaces.get('acme-api-9d2mz8w3rt').status = { statusVersion: '99', phase: { name: 'PHASE_STOPPED' }, workspaceUrl: `${world.url}/editor` };
    await until(async () => (await api.getAttribute('data-state')) === 'stopped', 'what cannot be caught up with is read anew');

    expected.push(/status of 503/);
    world.answers.ListWorkspaces = world.answers.events = () => new Failure('unavailable', 'nobody is there');
    await go('/workspaces');
    await page.getByText('nobody is there').waitFor();
    delete world.answers.ListWorkspaces;
    delete world.answers.events;
    await rows.first().waitFor();
    ok(true, 'a list that could not be loaded loads by itself when the server is back');
    expected = [];
}

// On a page whose time goes on only when we say so: what it does by itself, and what only when it is asked.
async function again() {
    someWorkspaces();
    const other = await context.newPage();
    const rows = other.locator('[data-workspace-id]');
    const bad = other.locator('.notice.bad');
    const turned = (locator, what) => until(async () => {
        await other.clock.runFor(500);
        return locator.isVisible();
    }, what);
    await other.clock.install();
    await other.clock.pauseAt(Date.now() + 60000);

    world.answers.ListWorkspaces = () => new Failure('unavailable', 'the workspace manager is starting; try again in a few seconds');
    await other.goto(`${world.url}/workspaces`);
    await other.getByText('the workspace manager is starting').waitFor();
    delete world.answers.ListWorkspaces;
    await other.getByRole('button', { name: 'Try again' }).click();
    await rows.first().waitFor();
    ok(true, 'a list that could not be loaded says why and loads on Try again');

    let left = -1; // tries that the network fails; -1: all
    await other.route(/ListWorkspaces|GetWorkspace|ListGitTokens|GetAuthenticatedUser/, (route) => (left === 0 ? route.continue() : (left--, route.abort('connectionreset'))));
    for (const [to, what] of [['/workspaces', 'Workspaces'], ['/start/?autostart=false#acme-infra-5t4r3e2w1q', 'infra with'], ['/settings/git-tokens', 'No tokens yet'], ['/settings/account', 'administrator']]) {
        const there = what === 'Workspaces' ? rows.first() : other.locator('main').getByText(what, { exact: false }).first();
        left = -1;
        await other.goto('about:blank');
        await other.goto(world.url + to);
        await turned(bad, `${to}: what the network failed says so`);
        ok((await bad.innerText()).includes('cannot be reached'), `${to}: in words`);
        left = 0;
        await turned(there, `${to}: and is there by itself when the network is`);
        is(await bad.count(), 0, `${to}: the error goes`);
    }
    left = 2;
    let shown = 0;
    await other.goto('about:blank');
    await other.goto(`${world.url}/workspaces`);
    await until(async () => {
        await other.clock.runFor(500);
        shown += await bad.count();
        return rows.first().isVisible();
    }, 'the list after two failures of the network');
    is(`${left} ${shown}`, '0 0', 'two failures of the network are made good without a word');
    await other.clock.resume(); // it is the clock of all pages
    await other.close();
}

async function settings() {
    await go('/settings/git-tokens');
    await page.getByText('No tokens yet').waitFor();
    await page.getByLabel('Host', { exact: true }).fill('https://GitLab.example.com/group/repo');
    await page.keyboard.press('Tab');
    is(await page.getByLabel('Host', { exact: true }).inputValue(), 'gitlab.example.com', 'a pasted URL becomes its host');
    ok((await text('.help')).includes('read_repository'), 'the page says which scope the host wants');
    await look('git-tokens');
    await page.getByLabel('Token', { exact: true }).fill('glpat-very-secret');
    await page.keyboard.press('Enter');
    await page.locator('.token-row', { hasText: 'gitlab.example.com' }).waitFor();
    is(world.called('SetGitToken')[0].value, 'glpat-very-secret', 'the token is sent');
    const left = await page.evaluate(() => document.documentElement.outerHTML + [...document.querySelectorAll('input')].map((i) => i.value).join() + JSON.stringify({ ...localStorage, ...sessionStorage }));
    ok(!left.includes('very-secret'), 'and is nowhere in the page afterwards');
    is(await page.getByRole('link', { name: 'Back, to try again' }).count(), 0, 'who came by the menu is not sent anywhere');
    await look('git-tokens-list');
    await page.getByRole('button', { name: /Delete the token/ }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete the token' }).click();
    await page.getByText('No tokens yet').waitFor();
    ok(true, 'a token is deleted after a question');

    await go('/settings');
    await page.getByText('administrator').first().waitFor();
    is(new URL(page.url()).pathname, '/settings/account', '/settings leads to the account');
    await look('account');
    await page.getByRole('radio', { name: 'Dark' }).check();
    await go('/settings/account');
    is(await page.evaluate(() => document.documentElement.dataset.theme), 'dark', 'the chosen theme is remembered');
    await page.getByRole('button', { name: 'Use the light theme' }).click();
    is(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(246, 247, 249)', 'the button of the header changes it');
    await page.getByLabel('As the system').check();

    await page.evaluate(() => localStorage.setItem('gitpod.renewed', String(Date.now() - 25 * 3600e3)));
    world.calls.length = 0;
    await go('/workspaces');
    await until(() => world.called('/api/session/renew').length === 1, 'a session a day old is renewed');
    await page.waitForFunction(() => Date.now() - Number(localStorage.getItem('gitpod.renewed')) < 60000);
    await page.evaluate(() => localStorage.removeItem('gitpod.signed-in'));
    await go('/workspaces');
    await page.waitForFunction(() => localStorage.getItem('gitpod.signed-in') !== null); // it knows the user: now or never
    await settled();
    is(world.called('/api/session/renew').length, 1, 'once a day, not at each load');

    await go('/settings/git-tokens?host=git.example.com&return=%2Fworkspaces');
    await page.getByLabel('Token', { exact: true }).fill('glpat-other');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'Back, to try again' }).click();
    await page.waitForURL('**/workspaces');
    ok(true, 'who came because a token was missing goes back with one click');

    await go('/nowhere/at/all');
    await page.getByRole('heading', { name: 'There is no such page' }).waitFor();
    await look('not-found');
    await page.keyboard.press('Tab');
    is(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content', 'the first Tab is the skip link');
    await page.keyboard.press('Enter');
    is(await page.evaluate(() => document.activeElement.id), 'main', 'which leads to the content');

    await go('/settings/account');
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.waitForURL('**/login');
    ok(world.called('/api/logout').length === 1, 'Log out ends the session and shows the log-in');
}

async function errors() {
    for (const status of [400, 401, 404, 429, 502, 503]) {
        await go(`/errors/${status}.html`);
        ok((await page.locator('h1').innerText()).length > 5 && (await page.locator('script').count()) === 0, `${status}: a page of its own without a script`);
        if (status === 401 || status === 503) await look(`error-${status}`);
    }
}

const parts = { login, create, start, list, again, settings, errors };
try {
    for (const [name, part] of Object.entries(parts)) {
        await part().catch(async (e) => {
            ok(false, `${name} got stuck: ${String(e).split('\n').slice(0, 5).join(' ')} at ${page.url()}`);
        });
        is(problems.splice(0).join(' | '), '', `${name}: no console error and no CSP violation`);
        expected = [];
        world.signedIn = true;
        world.answers = {};
    }
} finally {
    await context.close();
    world.close();
}
process.exit(failed ? 1 : 0);
