{
  description = "Configuration generator and failover test harness for a highly available mail cluster";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forAllSystems = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      # What the harness uses from its host: QEMU and the image builder with what the builder calls.
      hostTools = pkgs: [
        pkgs.qemu
        pkgs.mmdebstrap
        pkgs.apt
        pkgs.dpkg
        pkgs.e2fsprogs
      ];
      program =
        pkgs: name:
        pkgs.rustPlatform.buildRustPackage {
          pname = name;
          version = (nixpkgs.lib.importTOML ./Cargo.toml).workspace.package.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          cargoBuildFlags = [
            "-p"
            name
          ];
          cargoTestFlags = [
            "-p"
            name
          ];
          meta.mainProgram = name;
        };
    in
    {
      packages = forAllSystems (pkgs: {
        generator = program pkgs "generator";
        harness = program pkgs "harness";
        default = self.packages.${pkgs.system}.harness;
      });

      apps = forAllSystems (pkgs: {
        harness = {
          type = "app";
          program = nixpkgs.lib.getExe (
            pkgs.writeShellApplication {
              name = "harness";
              runtimeInputs = hostTools pkgs;
              text = ''exec ${self.packages.${pkgs.system}.harness}/bin/harness "$@"'';
            }
          );
        };
        default = self.apps.${pkgs.system}.harness;
      });

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          packages =
            hostTools pkgs
            ++ (with pkgs; [
              cargo
              rustc
              clippy
              rustfmt
              cargo-insta
            ]);
        };
      });

      # Building a package runs its tests.
      checks = forAllSystems (pkgs: {
        inherit (self.packages.${pkgs.system}) generator harness;
        formatting = pkgs.runCommand "formatting" { nativeBuildInputs = [ pkgs.cargo pkgs.rustfmt ]; } ''
          cd ${self} && cargo fmt --all --check && touch $out
        '';
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt);
    };
}
