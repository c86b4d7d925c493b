// Icons: 20 by 20, stroke in the colour of the text.
import type { ReactNode } from "react";

function Icon({ children }: { children: ReactNode }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" width="18" height="18" fill="none" stroke="currentColor" strokeWidth="1.6"
      strokeLinecap="round" strokeLinejoin="round" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const SearchIcon = () => <Icon><circle cx="9" cy="9" r="5.2" /><path d="M13 13l3.5 3.5" /></Icon>;
export const PinIcon = () => <Icon><path d="M7 3h6l-1 5 2.5 3h-9L8 8zM10 11v6" /></Icon>;
export const StopIcon = () => <Icon><circle cx="10" cy="10" r="6.8" /><rect x="7.6" y="7.6" width="4.8" height="4.8" rx="0.8" fill="currentColor" /></Icon>;
export const EditIcon = () => <Icon><path d="M4 16l.8-3.4L13 4.4a1.4 1.4 0 012 0l.6.6a1.4 1.4 0 010 2L7.4 15.2z" /></Icon>;
export const TrashIcon = () => <Icon><path d="M4 6h12M8 6V4h4v2M5.5 6l.7 10h7.6l.7-10M8.5 9v4.5M11.5 9v4.5" /></Icon>;
export const BranchIcon = () => (
  <Icon>
    <circle cx="6" cy="4.5" r="1.8" /><circle cx="6" cy="15.5" r="1.8" /><circle cx="14" cy="6.5" r="1.8" />
    <path d="M6 6.3v7.4M14 8.3c0 3-4 3-7.2 4.6" />
  </Icon>
);
export const SunIcon = () => (
  <Icon>
    <circle cx="10" cy="10" r="3.2" />
    <path d="M10 2.5v1.8M10 15.7v1.8M2.5 10h1.8M15.7 10h1.8M4.7 4.7L6 6M14 14l1.3 1.3M4.7 15.3L6 14M14 6l1.3-1.3" />
  </Icon>
);
export const MoonIcon = () => <Icon><path d="M16 11.8A6.5 6.5 0 118.2 4a5.2 5.2 0 007.8 7.8z" /></Icon>;
export const CheckIcon = () => <Icon><path d="M4.5 10.5l3.6 3.6 7.4-8" /></Icon>;
export const CrossIcon = () => <Icon><path d="M5.5 5.5l9 9M14.5 5.5l-9 9" /></Icon>;
export const WarnIcon = () => <Icon><path d="M10 3.2l7.3 13H2.7zM10 8v3.6M10 14v.1" /></Icon>;
export const InfoIcon = () => <Icon><circle cx="10" cy="10" r="6.8" /><path d="M10 9.2v4M10 6.6v.1" /></Icon>;
export const KeyIcon = () => <Icon><circle cx="7" cy="13" r="3.2" /><path d="M9.3 10.7L16 4M13 7l2 2" /></Icon>;

export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" fill="#3d5afe" />
      <g fill="none" stroke="#fff" strokeWidth="3" strokeLinecap="round">
        <path d="M9 10.5l5.5 5.5L9 21.5" strokeLinejoin="round" />
        <path d="M17 21.5h6.5" />
      </g>
    </svg>
  );
}
