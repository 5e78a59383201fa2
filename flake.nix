{
  description = "Certificates for every hostname of every Ingress: ACME DNS-01 by RFC 2136, kept as Kubernetes Secrets";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      manifest = fromTOML (builtins.readFile ./Cargo.toml);
    in
    {
      # `nix build`: the program alone. Its tests want real servers, and so `nix develop -c make test`.
      packages = each (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = manifest.package.name;
          version = manifest.workspace.package.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          cargoBuildFlags = [
            "--package"
            manifest.package.name
          ];
          doCheck = false;
          meta = {
            description = manifest.package.description;
            license = pkgs.lib.licenses.mit;
            mainProgram = manifest.package.name;
          };
        };
      });

      # `nix develop`: all that the Makefile's targets call. The servers that are not here are built by tools/build.
      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = [
            # Faythe itself, and what checks it.
            pkgs.cargo
            pkgs.cargo-deny
            pkgs.clippy
            pkgs.rustc
            pkgs.rustfmt
            # The servers, and what tests ask them with: named and tsig-keygen, dig and nsupdate.
            pkgs.bind
            pkgs.dnsutils
            pkgs.go
            # What scripts and tests call.
            pkgs.gnumake
            pkgs.nix
            pkgs.openssl
            pkgs.util-linux
          ];
          # The C compiler, for aws-lc, comes with mkShell; these are the libraries of a static program.
          buildInputs = [ pkgs.glibc.static ];
        };
      });
    };
}
