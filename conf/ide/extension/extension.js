// Two things of the workspace that an editor does not know.
//
// The supervisor runs the tasks of .gitpod.yml in terminals of its own, whether
// an editor is open or not. Here each of them gets a tab of the terminal panel,
// attached by gp. What a task has said before is replayed.
//
// When the workspace stops, the editor says so by itself after 40 seconds only,
// and as a lost connection. The supervisor tells before the end, and is told
// here that the person knows.
'use strict';

const { execFile } = require('node:child_process');
const http = require('node:http');
const vscode = require('vscode');

const GP = '/.supervisor/gp';
const TRIES_MAX = 5;
const TRY_MS = 1000; // pause between tries, and patience with one
const END = 'http://127.0.0.1:22999/_supervisor/v1/status/supervisor/willShutdown/true';
const END_ANSWER_MS = 90000; // the supervisor answers after a minute at the latest
const END_ANSWER_MAX = 4096; // bytes
const END_AGAIN_MS = 5000; // pause after an answer that was none
const END_SHOWN_MS = 1000; // a browser that is there has the dialog by then; one that is gone would never say so
const CLOSED_MAX = 64; // ended tasks remembered as closed by the person

const SHOWN = 'gitpod.tasks.shown'; // the instance whose tasks have been brought to the front once
const CLOSED = 'gitpod.tasks.closed'; // ended tasks that the person has put away, by their terminal's id

function listOnce() {
    return new Promise((resolve, reject) => {
        execFile(GP, ['tasks', 'list', '--json'], { timeout: TRY_MS }, (error, out) => {
            try {
                return error ? reject(error) : resolve(JSON.parse(out));
            } catch (e) {
                return reject(e);
            }
        });
    });
}

async function list() {
    for (let i = 1; ; i++) {
        try {
            return await listOnce();
        } catch (e) {
            if (i === TRIES_MAX) throw e;
            await new Promise((r) => setTimeout(r, TRY_MS));
        }
    }
}

// Which task a terminal shows: the last argument of gp. Terminals outlive a restart of the extension host.
function taskOf(terminal) {
    const { shellPath, shellArgs } = terminal.creationOptions;
    return shellPath === GP && Array.isArray(shellArgs) ? shellArgs[shellArgs.length - 1] : undefined;
}

function open(task) {
    return vscode.window.createTerminal({
        name: task.presentation.name,
        shellPath: GP,
        shellArgs: ['tasks', 'attach', '--hold', task.terminal],
        isTransient: true, // the task goes on without the tab, and a reload makes the tab anew
    });
}

function rememberClosed(state, terminal) {
    const task = taskOf(terminal);
    const reason = terminal.exitStatus?.reason;
    const byPerson = reason === vscode.TerminalExitReason.User || reason === vscode.TerminalExitReason.Process;
    if (task && byPerson) {
        state.update(CLOSED, [...state.get(CLOSED, []).filter((t) => t !== task), task].slice(-CLOSED_MAX));
    }
}

// True when the workspace ends, false when it is time to ask again.
function ends(signal) {
    return new Promise((resolve, reject) => {
        const request = http.get(END, { signal, timeout: END_ANSWER_MS }, (response) => {
            let text = '';
            response.setEncoding('utf8');
            response.on('data', (part) => { text = (text + part).slice(0, END_ANSWER_MAX); });
            response.on('error', reject);
            response.on('end', () => {
                try {
                    resolve(JSON.parse(text).ok === true);
                } catch (e) {
                    reject(e);
                }
            });
        });
        request.on('timeout', () => request.destroy(new Error('no answer')));
        request.on('error', reject);
    });
}

async function sayEnd(signal) {
    while (!signal.aborted) {
        try {
            if (await ends(signal)) {
                const detail = 'What you type here is not kept any more; the files in it are. Reload this page to start it again.';
                void vscode.window.showWarningMessage('This workspace has stopped', { modal: true, detail });
                // What goes to the browser arrives in order: after this answer the dialog is there.
                const shown = vscode.commands.executeCommand('setContext', 'gitpod.stopped', true);
                await Promise.race([shown, new Promise((r) => setTimeout(r, END_SHOWN_MS))]);
                await ends(signal);
                return;
            }
        } catch {
            await new Promise((r) => setTimeout(r, END_AGAIN_MS));
        }
    }
}

exports.activate = async function activate(context) {
    const state = context.workspaceState;
    const life = new AbortController();
    context.subscriptions.push({ dispose: () => life.abort() });
    void sayEnd(life.signal);
    const log = vscode.window.createOutputChannel('Gitpod Tasks', { log: true });
    context.subscriptions.push(log, vscode.window.onDidCloseTerminal((t) => rememberClosed(state, t)));
    try {
        const there = vscode.window.terminals.map(taskOf);
        const putAway = state.get(CLOSED, []);
        const tasks = (await list()).filter((t) => !there.includes(t.terminal) && (t.state === 'running' || !putAway.includes(t.terminal)));
        const terminals = tasks.map(open);
        const instance = process.env.GITPOD_INSTANCE_ID;
        const alone = there.length === 0;
        if (terminals.length > 0 && (alone || state.get(SHOWN) !== instance)) {
            terminals[0].show(true); // the keyboard stays where it is
            await state.update(SHOWN, instance);
        }
    } catch (e) {
        log.error(`the tasks could not be listed; 'gp tasks list' in a terminal says why: ${e.message}`);
    }
};
